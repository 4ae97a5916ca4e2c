import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { asNobody, type Ended, readableCheckout, root, run, temporaryHome } from './support.ts';

const lab = ['npm', 'run', '--silent', 'lab', '--'];
const programs = ['ip', 'bridge', 'dbus-daemon', 'unshare', 'setpriv', 'nsenter', 'flock', 'mount'];

/** The result, with all that a failed lab has to say as the message. */
function document({ code, stdout, stderr }: Ended) {
  expect(code, `${stdout}\n${stderr}`).toBe(0);
  return JSON.parse(stdout);
}

function expectProof(result: Record<string, never>, guests: number): void {
  expect(result).toMatchObject({
    ok: true,
    relay: { hairpin: true, negotiatedMs: expect.any(Number), hairpinHistory: [0, 1, 0] },
    reach: { before: false, unassociated: false, associated: true, deassociated: false },
  });
  const { steps, vsis } = result as unknown as { steps: object[]; vsis: { state: string }[] };
  expect(steps.length).toBeGreaterThan(5);
  for (const step of steps) {
    expect(step).toEqual({ name: expect.any(String), ok: true, ms: expect.any(Number) });
  }
  expect(vsis.map(({ state }) => state)).toEqual(Array(guests).fill('associated'));
}

describe.runIf(needs({ programs, networkNamespace: true }))('npm run lab', () => {
  it('proves the relay with guest traffic, shows it, and writes what was on the wire', {
    timeout: 60_000,
  }, async () => {
    const pcap = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'evbd-lab-')), 'wire.pcap');
    const { code, stdout, stderr } = await run([...lab, '--pcap', pcap]);
    expect(code, `${stdout}\n${stderr}`).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.filter((line) => [...line].length > 80)).toEqual([]);
    expect(stdout).not.toContain('\u001b');
    expect(stdout).toMatch(/namespace station +namespace switch/);
    expect(stdout).toMatch(/LLDP ttl \d+/);
    expect(stdout).toMatch(/swp1 hairpin_mode 1/);
    expect(lines.at(-1)).toMatch(/^ok: (\d+) of \1 steps hold/);
    // What was captured decodes, with both sides' frames in it.
    const evbctl = path.resolve('dist/src/cli/evbctl.js');
    const decoded = execFileSync(process.execPath, [evbctl, 'decode', '--json', pcap], { encoding: 'utf8' });
    const frames = decoded
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    const modes = new Set(frames.map((frame) => frame.lldp?.evb?.mode).filter(Boolean));
    expect(modes).toEqual(new Set(['station', 'bridge']));
    expect(frames.filter((frame) => frame.error)).toEqual([]);
    // Spanning tree is off, and evbd keeps br0 from sending what the station says back to it.
    expect(frames.filter((frame) => frame.echo)).toEqual([]);
    fs.rmSync(path.dirname(pcap), { recursive: true });
  });

  it('prints one document with --json', { timeout: 60_000 }, async () => {
    expectProof(document(await run([...lab, '--json'])), 2);
  });

  it('takes more guests', { timeout: 60_000 }, async () => {
    expectProof(document(await run([...lab, '--json', '--guests', '5'])), 5);
  });

  it.runIf(needs({ root: true }))('works for an ordinary user', { timeout: 90_000 }, async () => {
    const checkout = await readableCheckout();
    const home = temporaryHome(65534);
    try {
      const ended = await run(asNobody([...lab, '--json']), {
        cwd: checkout.folder,
        env: { HOME: home.folder },
      });
      expectProof(document(ended), 2);
    } finally {
      checkout.dispose();
      home.dispose();
    }
  });

  it.each([
    [['--guests', '1'], /^evbd lab: --guests 1: give a number from 2 to 16\n$/],
    [['--guests', 'many'], /^evbd lab: --guests many: give a number/],
    [['--bogus'], /^evbd lab: Unknown option '--bogus'.*\n$/],
    [
      ['--pcap', '/nonexistent/wire.pcap'],
      /^evbd lab: --pcap \/nonexistent\/wire\.pcap: the directory \/nonexistent does not exist\n$/,
    ],
    [
      ['--pcap', '/tmp/evbd-absent/'],
      /^evbd lab: --pcap \/tmp\/evbd-absent\/: names a directory, which does not exist\n$/,
    ],
    [['--pcap', '/tmp/'], /^evbd lab: --pcap \/tmp\/: is a directory, name a file in it\n$/],
    [['--pcap='], /^evbd lab: --pcap: name a file\n$/],
  ])('refuses %j in one line', async (args, line) => {
    const { code, stdout, stderr } = await run([...lab, ...args]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(line);
  });

  it('says what its options do', async () => {
    const { code, stdout } = await run([...lab, '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/--keep .*\n.* ends it, or --end/);
    expect(stdout).toContain('npm run --silent lab -- --json');
    expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
  });

  /** Types what a kept lab says can be typed: the way in, then all of what there is to try. */
  async function useKept(before: (command: readonly string[]) => string[], cwd?: string, home?: string) {
    const options = { ...(cwd && { cwd }), ...(home && { env: { HOME: home } }) };
    const kept = await run(before([...lab, '--keep']), options);
    try {
      expect(kept.code, `${kept.stdout}\n${kept.stderr}`).toBe(0);
      expect(kept.stdout.split('\n').filter((line) => line.length > 80 && !/^ {2}node /.test(line))).toEqual(
        [],
      );
      const enter = /enter it:\n {2}(nsenter .*)$/m.exec(kept.stdout)?.[1];
      const inside = kept.stdout.split('Within it:\n')[1]!.split('\n\n')[0]!.replace('ping', 'ping -c 1');
      const typed = `${enter} sh -e <<'END'\npwd\n${inside}\nEND\n`;
      // From anywhere: what is printed does not depend on where it is typed.
      const { code, stdout, stderr } = await run(before(['sh', '-c', typed]), { ...options, cwd: '/' });
      expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
      expect(stdout.startsWith(`${cwd ?? root}\n`)).toBe(true);
      expect(stdout).toMatch(/eth1 {2}station/);
      expect(stdout).toMatch(/1 received/);
      expect(stdout).toMatch(/hairpin on/);
    } finally {
      const { stdout } = await run(before([...lab, '--end']), options);
      expect(stdout).toContain('ended, nothing is left');
    }
  }

  it.runIf(needs({ programs: ['ping'] }))(
    'keeps running, and what it says can be typed works',
    {
      timeout: 60_000,
    },
    async () => {
      await useKept((command) => [...command]);
    },
  );

  it.runIf(needs({ root: true, programs: ['ping'] }))(
    'is kept for an ordinary user too',
    {
      timeout: 90_000,
    },
    async () => {
      const checkout = await readableCheckout();
      const home = temporaryHome(65534);
      try {
        await useKept(asNobody, checkout.folder, home.folder);
      } finally {
        checkout.dispose();
        home.dispose();
      }
    },
  );

  it.runIf(needs({ root: true }))('names a missing program and what brings it', async () => {
    const checkout = await readableCheckout();
    const hidden = execFileSync('which', ['dbus-daemon'], { encoding: 'utf8' }).trim();
    const command = asNobody([process.execPath, 'tools/lab.mjs']).join(' ');
    const { code, stdout, stderr } = await run(
      ['unshare', '--mount', 'sh', '-c', `mount --bind /dev/null ${hidden} && exec ${command}`],
      { cwd: checkout.folder },
    );
    checkout.dispose();
    expect(code).toBe(1);
    expect(stdout).toBe('evbd lab: missing on this machine: dbus-daemon\n');
    expect(stderr).toMatch(/^evbd lab: what brings it: .*dbus.*\n$/);
  });
});
