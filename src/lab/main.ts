/**
 * `npm run lab`: the inner half, the first process of the namespaces that tools/lab.mjs made. It ends when its stdin
 * does, and everything it has made goes with it.
 */

import fs from 'node:fs';
import { parseArgs } from 'node:util';
import { jsonLine, printable, terminalOf } from '../cli/terminal.ts';
import { Demonstration } from './demonstration.ts';
import { columns, Display } from './display.ts';
import { cover, folder, LabError } from './namespaces.ts';

let kept = false;
process.stdin.on('end', () => {
  if (!kept) process.exit(1);
});
process.stdin.on('error', () => process.exit(1));
process.stdin.resume();

const { values } = parseArgs({
  options: {
    guests: { type: 'string', default: '2' },
    json: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    terminal: { type: 'boolean', default: false },
    'pcap-fd': { type: 'string' },
  },
});

const terminal = terminalOf({ isTTY: values.terminal, columns }, process.env);
const display = new Display((text) => {
  if (!values.json) process.stdout.write(text);
}, terminal);

/** Tells the outer half, which waits on this descriptor, that it may leave us alone. */
function leaveRunning(): void {
  kept = true;
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  fs.writeSync(3, 'kept\n');
  setInterval(() => {}, 1 << 30);
}

try {
  cover('/run');
  fs.mkdirSync(folder);
  const pcap = values['pcap-fd'];
  const demonstration = new Demonstration(
    display,
    Number(values.guests),
    pcap === undefined ? undefined : Number(pcap),
  );
  await demonstration.run();
  const { result } = demonstration;
  if (values.keep && result.ok) await demonstration.again();
  display.verdict(result.ok, result.steps);
  if (values.json) process.stdout.write(jsonLine(result));
  if (values.keep && result.ok) {
    display.inside(demonstration.station.bus, folder);
    leaveRunning();
  } else {
    process.exit(result.ok ? 0 : 1);
  }
} catch (error) {
  const text =
    error instanceof LabError ? [error.message, ...error.details].join('\n') : (error as Error).stack;
  const lines = String(text).split('\n');
  process.stderr.write(`evbd lab: ${lines.map((line) => printable(terminal, line)).join('\n')}\n`);
  process.exit(1);
}
