/** `npm run fuzz`: makes the checkout ready, then runs test/fuzz/main.ts. */
import process from 'node:process';
import { createViteServer } from 'vitest/node';
import { Complaint, prepare, root, searchPath } from './prepare.mjs';

try {
  await prepare({ wants: 'test', say: (line) => console.error(`evbd fuzz: ${line}`) });
} catch (error) {
  if (!(error instanceof Complaint)) throw error;
  console.error(`evbd fuzz: ${error.message}`);
  process.exit(1);
}
process.env.PATH = searchPath().join(':');
// Node 20 does not read TypeScript; vitest's own loader does.
const loader = await createViteServer({
  root,
  configFile: false,
  appType: 'custom',
  logLevel: 'error',
  optimizeDeps: { noDiscovery: true },
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
});
const { main } = await loader.ssrLoadModule('/test/fuzz/main.ts');
const code = await main(process.argv.slice(2));
await loader.close();
process.exit(code);
