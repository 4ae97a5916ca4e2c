import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { ended, root } from './support.ts';

const seed = Number(process.env['EVBD_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const instants = 50;
const programs = ['ip', 'dbus-daemon', 'unshare', 'setpriv', 'nsenter', 'mount'];

/** Runs world.mjs in namespaces of its own; resolves with what it tells. */
// biome-ignore lint/suspicious/noExplicitAny: documents of world.mjs
async function interruptedWorld(seed: number, instants: number, alsoKilled: boolean): Promise<any[]> {
  const user = process.getuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const namespaces = [...user, '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const world = [process.execPath, path.join(root, 'test/lab/world.mjs'), String(seed), String(instants)];
  // The shell stays the first process in there: it collects what has lost its parent.
  const shell = ['sh', '-c', '"$@"; exit $?', 'sh', ...world, ...(alsoKilled ? ['and-killed'] : [])];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...namespaces, ...shell], { cwd: root });
  // biome-ignore lint/suspicious/noExplicitAny: documents of world.mjs
  const events: any[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => events.push(JSON.parse(line)));
  const { code, stderr } = await ended(child);
  expect(code, stderr).toBe(0);
  return events;
}

describe.runIf(needs({ programs, networkNamespace: true }))('an interrupted lab', () => {
  it(`leaves nothing behind (EVBD_SEED=${seed})`, { timeout: 900_000 }, async () => {
    console.log(`interrupting the lab at ${instants} instants, EVBD_SEED=${seed}`);
    // Most of a lab's time is waiting: several worlds at once take hardly longer than one.
    const shares = [
      instants - 2 * Math.floor(instants / 3),
      Math.floor(instants / 3),
      Math.floor(instants / 3),
    ];
    const events = (
      await Promise.all(shares.map((share, i) => interruptedWorld(seed + i, share, i === 1)))
    ).flat();

    for (const whole of events.filter(({ what }) => what === 'whole'))
      expect(whole.exit, whole.output).toBe(0);
    expect(events.filter(({ left }) => left.length > 0)).toEqual([]);

    const interrupted = events.filter(({ what }) => what === 'interrupted');
    expect(interrupted).toHaveLength(instants);
    // 128 and the number of the signal; SIGTERM is what reaches the lab when npm has gone by another one.
    const exits = { SIGINT: [130, 'SIGINT'], SIGTERM: [143, 'SIGTERM'], SIGHUP: [129, 'SIGHUP'] };
    const odd = interrupted.filter(
      ({ signal, exit }) => exit !== 0 && !exits[signal as keyof typeof exits].includes(exit),
    );
    expect(odd).toEqual([]);
    expect(interrupted.filter(({ stderr }) => /Error|\n +at /.test(stderr))).toEqual([]);

    expect(events.filter(({ what }) => what === 'killed')).toHaveLength(4);

    const [kept] = events.filter(({ what }) => what === 'kept');
    expect(kept.exit).toBe(0);
    expect(kept.leftRunning).toBeGreaterThan(5);
    expect(kept.output).toContain('an earlier lab was still there');
    expect(kept.nextExit, kept.output).toBe(0);
  });
});
