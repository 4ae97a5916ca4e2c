import { defineConfig } from 'vitest/config';

/** The tests for the virtual machine: one process, one file after the other; an emulated machine is slow. */
export default defineConfig({
  test: {
    root: new URL('../..', import.meta.url).pathname,
    include: ['test/vm/**/*.test.ts'],
    // A line as soon as a test is done.
    reporters: ['verbose'],
    fileParallelism: false,
    isolate: false,
    testTimeout: 600_000,
    hookTimeout: 600_000,
  },
});
