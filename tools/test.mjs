/**
 * `npm test`: makes the checkout ready, then lint, types and purity, then the tests. What follows `--` goes to vitest:
 * `npm test -- test/ecp`. With CI=true a program that a test needs and cannot find is a failure instead of a skip.
 */
import { spawnSync } from 'node:child_process';
import process from 'node:process';
import { Complaint, prepare, root, searchPath } from './prepare.mjs';

try {
  await prepare({ wants: 'test', say: (line) => console.log(`evbd test: ${line}`) });
} catch (error) {
  if (!(error instanceof Complaint)) throw error;
  console.error(`evbd test: ${error.message}`);
  process.exit(1);
}

const env = { ...process.env, PATH: searchPath().join(':') };
const run = (command, args) => {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, env, stdio: 'inherit' });
  if (error) console.error(`evbd test: ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? (signal ? 130 : 1));
};
run('npm', ['run', '--silent', 'check']);
run('npx', ['--no-install', 'vitest', 'run', ...process.argv.slice(2)]);
