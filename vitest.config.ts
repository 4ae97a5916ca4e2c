import { configDefaults, defineConfig } from 'vitest/config';

/** What needs Debian's kernel runs in a virtual machine: `npm run test:vm`. */
export default defineConfig({ test: { exclude: [...configDefaults.exclude, 'test/vm/**'] } });
