/** `npm run simulate`: compiles the machines and the simulation, then runs it; see test/simulation/main.ts. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const compiler = path.join(root, 'node_modules/typescript/bin/tsc');
if (!existsSync(compiler)) {
  process.stderr.write('evbd simulate: the packages are not installed; run npm ci first\n');
  process.exit(1);
}
const project = path.join(root, 'test/simulation/tsconfig.json');
const { status } = spawnSync(process.execPath, [compiler, '-p', project], { stdio: ['ignore', 2, 2] });
if (status !== 0) process.exit(1);
const { main } = await import('../build/simulation/test/simulation/main.js');
process.exitCode = await main(process.argv.slice(2), root);
