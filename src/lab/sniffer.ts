/**
 * A program of the lab: writes every frame that arrives at an interface to stdout, a line `TIME HEX` each, TIME in
 * nanoseconds of the monotonic clock. Only what arrives: what the host itself sends is seen at the other end.
 * A line on stdin is answered with the same line after the frames that had arrived before it.
 */

import { createInterface } from 'node:readline';
import { PacketSocket } from '../raw-socket/index.ts';

new PacketSocket({
  interfaceIndex: Number(process.argv[2]),
  onFrames(frames) {
    const now = process.hrtime.bigint();
    process.stdout.write(
      frames.map(({ octets }) => `${now} ${Buffer.from(octets).toString('hex')}\n`).join(''),
    );
  },
  onError(error) {
    process.stderr.write(`${error.message}\n`);
  },
});
process.stdout.write('ready\n');
// Two turns of the event loop: one poll for frames lies between them at least.
createInterface({ input: process.stdin }).on('line', (line) =>
  setImmediate(() => setImmediate(() => process.stdout.write(`${line}\n`))),
);
