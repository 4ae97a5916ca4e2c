/**
 * A program of the lab: a guest's one application, over the kernel's own stack (ARP, IP, UDP). Answers whoever asks it,
 * and asks others when it is told to: one JSON document a line on stdin and stdout.
 */

import { spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

/** Asks `targets` every `interval` ms, `tries` times or until all have answered. */
export interface Question {
  id: number;
  targets: string[];
  /** What the answer must carry, so that no answer to an earlier question counts. */
  token: string;
  tries: number;
  interval: number;
}

export interface Answer {
  id: number;
  /** Milliseconds until the answer of each target that answered. */
  answered: Record<string, number>;
}

const port = 8215;
const own = process.argv[2]!;
const waiting = new Map<string, (from: string) => void>();

const socket = createSocket('udp4');
socket.on('message', (octets, { address }) => {
  const [kind, token] = octets.toString().split(' ');
  if (kind === 'ask') socket.send(`answer ${token}`, port, address);
  else waiting.get(token ?? '')?.(address);
});
// An address that does not resolve, or a full queue, shows as an answer that does not come.
socket.on('error', () => {});

async function ask({ id, targets, token, tries, interval }: Question): Promise<Answer> {
  // Nothing may be known from before: reaching somebody begins with ARP.
  spawnSync('ip', ['neigh', 'flush', 'dev', 'eth0']);
  const started = performance.now();
  const answered: Record<string, number> = {};
  return await new Promise((resolve) => {
    let tried = 0;
    const open = () => targets.filter((target) => answered[target] === undefined);
    const finish = () => {
      clearInterval(timer);
      waiting.delete(token);
      resolve({ id, answered });
    };
    waiting.set(token, (from) => {
      answered[from] ??= performance.now() - started;
      if (open().length === 0) finish();
    });
    const round = () => {
      if (tried++ === tries) finish();
      else for (const target of open()) socket.send(`ask ${token}`, port, target, () => {});
    };
    const timer = setInterval(round, interval);
    round();
  });
}

socket.bind(port, own, () => process.stdout.write('{"ready":true}\n'));
createInterface({ input: process.stdin }).on('line', async (line) => {
  process.stdout.write(`${JSON.stringify(await ask(JSON.parse(line)))}\n`);
});
