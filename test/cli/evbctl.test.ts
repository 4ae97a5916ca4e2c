import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';

import { pcapFileHeader, pcapRecord } from '../../src/cli/pcap.ts';
import { Connection } from '../../src/dbus/connection.ts';
import { type Service, startService } from '../../src/dbus/service.ts';
import { EvbError, type LinkStatus, type ProbeReport, type RelayState } from '../../src/model.ts';
import { startBus, type TestBus } from '../dbus/support/bus.ts';
import { FakeDaemon, link, probeReport, TestLog, vsi } from '../dbus/support/fake-daemon.ts';
import { readCapture } from '../fixtures/pcap.ts';
import { hex } from '../fixtures/vectors.ts';
import { needs } from '../support/needs.ts';
import { evbctl, type Options, startEvbctl } from './support.ts';

vi.setConfig({ testTimeout: 60_000 });

const ID = '9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359';
const OTHER = '0f3e6a5c-5b1e-4c57-9b0a-7d2e4f6a0006';
const guest = ['--mac', '52:54:00:0a:0b:0c', '--vlan', '10', '--profile', 'web'];

/** One line on stderr that matches, nothing else. */
function oneLine(stderr: string, pattern: RegExp): void {
  expect(stderr).toMatch(/^evbctl[^\n]*\n$/);
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(stderr).toMatch(pattern);
}

describe.concurrent('without a daemon', () => {
  test.each<[string[], RegExp]>([
    [[], /a verb is missing; there are status, vsi, /],
    [['frobnicate'], /unknown verb "frobnicate"; there are status, /],
    [['--frob', 'status'], /unknown option --frob in front of the verb/],
    [['status', '--frob'], /evbctl: unknown option --frob; status takes --bus, --json/],
    [['status', 'eth1', 'eth2'], /"eth2" is too much; write evbctl status \[LINK\]/],
    [['status', '--json=yes'], /--json takes no value/],
    [['--bus', 'here', 'status'], /--bus wants system, session or an address .*, not "here"/],
    [['status', '--timeout'], /--timeout wants a value: S/],
    [['status', '--timeout', '0'], /--timeout wants seconds, more than 0 and at most 86400, not "0"/],
    [['status', '--timeout', 'soon'], /not "soon"/],
    [['status', '--timeout', '-1'], /--timeout wants a value/],
    [['status', '--timeout', '1', '--timeout', '2'], /--timeout is given twice/],
    [['associate'], /LINK is missing; write evbctl associate LINK/],
    [['associate', 'eth1'], /whom to associate is missing/],
    [['associate', 'eth1', '--vlan', '10'], /--profile NAME, or --manager, --type and --type-version/],
    [['associate', 'eth1', ...guest, '--type', '5'], /--profile and --type exclude each other/],
    [['associate', 'eth1', '--vlan', '10', '--type', '5'], /--manager and --type-version missing/],
    [['associate', 'eth1', '--mac', '52:54:00', '--profile', 'web'], /"52:54:00" is no MAC address/],
    [
      ['associate', 'eth1', '--mac', '01:00:5e:00:00:01', '--profile', 'web'],
      /group address is no guest MAC/,
    ],
    [
      ['associate', 'eth1', '--mac', '00:00:00:00:00:00', '--vlan', '10', '--profile', 'web'],
      /--mac: 00:00:00:00:00:00 is no guest MAC/,
    ],
    [
      ['associate', 'eth1', '--filter', '00-00-00-00-00-00/10', '--profile', 'web'],
      /--filter: 00:00:00:00:00:00 is no guest MAC/,
    ],
    [
      ['associate', 'eth1', '--filter', '33:33:00:00:00:01/10', '--profile', 'web'],
      /group address is no guest MAC/,
    ],
    [
      ['associate', 'eth1', '--vlan', '4095', '--profile', 'web'],
      /--vlan wants an integer 0\.\.4094, not "4095"/,
    ],
    [['associate', 'eth1', '--vlan', '1e3', '--profile', 'web'], /--vlan wants an integer/],
    [
      ['associate', 'eth1', '--vlan', '1', '--group', '4294967296', '--profile', 'web'],
      /--group wants an integer/,
    ],
    [['associate', 'eth1', '--vlan', '1', '--pcp', '8', '--profile', 'web'], /--pcp wants an integer 0\.\.7/],
    [
      ['associate', 'eth1', '--filter', '10@9', '--profile', 'web'],
      /--filter 10@9: PCP wants an integer 0\.\.7/,
    ],
    [
      ['associate', 'eth1', '--filter', '10/2/3', '--profile', 'web'],
      /expected \[MAC\/\]VID\[\/GROUP\]\[@PCP\]/,
    ],
    [
      ['associate', 'eth1', '--filter', '10', '--vlan', '3', '--profile', 'web'],
      /--filter and --vlan exclude/,
    ],
    [
      ['associate', 'eth1', '--filter', '10', '--filter', '52:54:00:0a:0b:0c/11', '--profile', 'web'],
      /every --filter of a VSI must have the same parts/,
    ],
    [
      ['associate', 'eth1', ...guest, '--id', 'vm1'],
      /--id wants a UUID, an IPv4, IPv6 or MAC address or 32 hex/,
    ],
    [['associate', 'eth1', ...guest, '--id', ID, '--id-format', 'mac'], /is not of --id-format mac/],
    [['associate', 'eth1', ...guest, '--hint', 'away'], /--hint wants none, from or to, not "away"/],
    [['associate', 'eth1', ...guest, '--reserve'], /unknown option --reserve; associate takes/],
    [
      ['associate', 'eth1', '--vlan', '1', '--manager', '256', '--type', '1', '--type-version', '1'],
      /--manager wants 0\.\.255, an IPv6 address, a UUID or 32 hex digits, not "256"/,
    ],
    [
      ['associate', 'eth1', '--vlan', '1', '--manager', '1', '--type', '0x1000000', '--type-version', '1'],
      /--type wants an integer 0\.\.16777215/,
    ],
    [['associate', 'eth1', '--from', '-', '--vlan', '1'], /--from and --vlan exclude each other/],
    [['associate', 'eth1', '--from', '/nonexistent/vsis'], /\/nonexistent\/vsis: no such file/],
    [['preassociate', 'eth1', '--reserve'], /whom to associate is missing/],
    [['deassociate'], /ID is missing/],
    [['wait'], /evbctl: LINK is missing; write evbctl wait LINK negotiated\|relay/],
    [['wait', 'eth1'], /evbctl: negotiated\|relay is missing; write evbctl wait LINK negotiated\|relay/],
    [['wait', 'eth1', 'peace'], /wait LINK for negotiated or relay, not for "peace"/],
    [['trace', 'eth1', '--count', '0'], /--count wants an integer 1\.\./],
    [
      ['trace', 'eth1', '--pcap', '/nonexistent/x'],
      /--pcap \/nonexistent\/x: the directory \/nonexistent does not exist/,
    ],
    [['trace', 'eth1', '--pcap', '/'], /--pcap \/: is a directory, name a file in it/],
    [
      ['trace', 'eth1', '--pcap', '/nonexistent/'],
      /--pcap \/nonexistent\/: names a directory, which does not/,
    ],
    [['release'], /LINK is missing/],
    [['probe'], /LINK is missing; write evbctl probe LINK/],
    [['reload', 'eth1'], /"eth1" is too much/],
    [['decode'], /FILE\.pcap is missing/],
    [['decode', '/nonexistent/x.pcap'], /\/nonexistent\/x\.pcap: no such file/],
    [['decode', '/'], /\/: is a directory, not a file/],
  ])('exit 2: %j', async (args, pattern) => {
    // Nothing is sent: there is no bus at that address.
    const { code, stdout, stderr } = await evbctl(args, { env: { EVBD_BUS: 'unix:path=/nonexistent/bus' } });
    oneLine(stderr, pattern);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  test.each([
    ['status'],
    ['vsi'],
    ['vsi', ID],
    ['associate', 'eth1', ...guest],
    ['preassociate', 'eth1', ...guest],
    ['deassociate', ID],
    ['wait', 'eth1', 'relay'],
    ['monitor'],
    ['trace', 'eth1'],
    ['probe', 'eth1'],
    ['reload'],
    ['release', 'eth1'],
  ])('exit 3 without a bus: %s', async (...args) => {
    const { code, stdout, stderr } = await evbctl(args, { env: { EVBD_BUS: 'unix:path=/nonexistent/bus' } });
    oneLine(stderr, /unix:path=\/nonexistent\/bus: no socket is there; start the bus/);
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
  });

  test('a bus that says nothing: exit 3 at the deadline', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'evbctl-'));
    const silent = createServer().listen(join(directory, 'bus'));
    await once(silent, 'listening');
    const { code, stderr } = await evbctl([
      'status',
      '--timeout',
      '0.2',
      '--bus',
      `unix:path=${directory}/bus`,
    ]);
    silent.close();
    await rm(directory, { recursive: true });
    oneLine(stderr, /no connection to evbd after 0\.2 s; --timeout S waits longer/);
    expect(code).toBe(3);
  });

  test('help and version', async () => {
    const [help, about, option, version] = await Promise.all([
      evbctl(['help']),
      evbctl(['help', 'associate']),
      evbctl(['associate', '--help']),
      evbctl(['--version']),
    ]);
    expect(help).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^usage: evbctl /) });
    expect(about.stdout).toContain('--filter [MAC/]VID[/GROUP][@PCP]');
    expect(option).toEqual(about);
    expect(version).toEqual({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/^evbctl \d+\.\d+\.\d+\n$/),
    });
    for (const line of [...help.stdout.split('\n'), ...about.stdout.split('\n')])
      expect(line.length).toBeLessThan(81);
    expect((await evbctl(['help', 'frob'])).code).toBe(2);
  });
});

describe('decode', () => {
  const capture = (name: string) => new URL(`../fixtures/captures/${name}.pcap`, import.meta.url).pathname;
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'evbctl-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  const file = async (octets: Uint8Array) => {
    const path = join(directory, 'x.pcap');
    await writeFile(path, octets);
    return path;
  };
  const whole = async () => {
    const { readFile } = await import('node:fs/promises');
    return readFile(capture('vdp-nack-hard'));
  };

  test('the ladder', async () => {
    const { code, stdout, stderr } = await evbctl(['decode', capture('vdp-nack-hard')]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe(`\
           station 02:00:5e:10:00:01                    bridge 02:00:5e:10:00:02
    0.0 ms ├── ECP 1 associate 52:54:00:b1:00:03/702 (vsi 0f3e6a5c…) ─────────▶│
    0.1 ms │◀───────────────────────────────────────────────────── ECP ack 1 ──┤
    2.3 ms │◀───────────────────────────────────────────────── ECP request 1 ──┤
           │    refused, deassociated: insufficient resources (hard)           │
           │      52:54:00:b1:00:03/702 (vsi 0f3e6a5c…)                        │
    2.3 ms ├── ECP ack 1 ─────────────────────────────────────────────────────▶│
`);
  });

  test('ASCII where the locale has no UTF-8, from standard input', async () => {
    const { code, stdout } = await evbctl(['decode', '-'], { input: await whole(), env: { LC_ALL: 'C' } });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^[\x20-\x7e\n]+$/);
    expect(stdout).toContain('|-- ECP 1 associate 52:54:00:b1:00:03/702 (vsi 0f3e6a5c..) -------->|');
  });

  test('one document a frame', async () => {
    for (const args of [
      ['decode', '--json'],
      ['--json', 'decode'],
    ]) {
      const { code, stdout } = await evbctl([...args, capture('vdp-nack-hard')]);
      expect(code).toBe(0);
      const documents = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(documents.map(({ no, time }) => [no, time])).toEqual([
        [1, 0],
        [2, 0.00015],
        [3, 0.002272],
        [4, 0.002322],
      ]);
      expect(documents[2]).toMatchObject({
        etherType: '0x8940',
        ecp: { dialect: 'ratified', version: 1, operation: 'request', subtype: 1, sequence: 1 },
        vdp: { vsis: [{ request: 'deassociate', status: { ack: true, keep: false, hard: true, error: 2 } }] },
        error: null,
      });
    }
  });

  test('a file that ends early: what is there, then why not more', async () => {
    const { code, stdout, stderr } = await evbctl(['decode', await file((await whole()).subarray(0, -10))]);
    expect(code).toBe(1);
    expect(stdout.match(/ack|request|associate/g)?.length).toBeGreaterThan(2);
    oneLine(
      stderr,
      /evbctl decode: \S+\/x\.pcap: the file ends within frame 4 \(at octet 232\): the capture was cut short/,
    );
  });

  test.each<[string, number[], RegExp]>([
    ['pcapng', [0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28], /pcapng file: convert it with editcap -F pcap/],
    ['text', [...Buffer.from('hello, this is no capture')], /no pcap file: record one with tcpdump -w/],
    ['empty', [], /empty, no pcap file/],
    ['gzip', [0x1f, 0x8b, 8, 0], /gunzip first/],
  ])('%s: exit 1', async (_, octets, pattern) => {
    const path = await file(Uint8Array.from(octets));
    const { code, stdout, stderr } = await evbctl(['decode', path]);
    oneLine(stderr, pattern);
    expect(stderr.startsWith(`evbctl decode: ${path}: `)).toBe(true);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    const input = await evbctl(['decode', '-'], { input: Uint8Array.from(octets) });
    oneLine(input.stderr, /^evbctl decode: standard input: /);
  });

  test('a reader that has seen enough', async () => {
    const { octets } = readCapture('vdp-nack-hard')[0]!;
    const frames = Array.from({ length: 5000 }, (_, i) => pcapRecord(i, octets));
    const input = Buffer.concat([pcapFileHeader(), ...frames]);
    const running = startEvbctl(['decode', '--json', '-'], { input });
    expect(JSON.parse(await running.line())).toMatchObject({ no: 1, etherType: '0x8940' });
    running.hangUp();
    const { code, stderr } = await running.ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  test('frames of other protocols are counted, not drawn', async () => {
    const input = Buffer.concat([pcapFileHeader(), pcapRecord(0, new Uint8Array(60))]);
    const { code, stdout } = await evbctl(['decode', '-'], { input });
    expect({ code, stdout }).toEqual({ code: 0, stdout: '1 frame of other protocols left out\n' });
  });

  describe('the same frames for people and for programs', () => {
    const [request, ack] = readCapture('vdp-nack-hard').map(({ octets }) => octets) as [
      Uint8Array,
      Uint8Array,
    ];
    const input = Buffer.concat([
      pcapFileHeader(),
      pcapRecord(0, new Uint8Array(60)),
      pcapRecord(0.001, request),
      pcapRecord(0.0015, request), // back from the bridge
      pcapRecord(0.002, ack),
      pcapRecord(0.003, new Uint8Array(60)),
      pcapRecord(0.01, request), // sent again, as an ack timer of a few milliseconds does
      pcapRecord(0.5, request), // and again, later
      pcapRecord(0.5004, request),
    ]);

    test('as documents', async () => {
      const { code, stdout, stderr } = await evbctl(['decode', '--json', '-'], { input });
      expect({ code, stderr }).toEqual({
        code: 0,
        stderr: 'evbctl decode: 2 frames of other protocols left out\n',
      });
      const documents = stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line));
      expect(documents.map(({ no, echo }) => [no, echo])).toEqual([
        [2, undefined],
        [3, true],
        [4, undefined],
        [6, undefined],
        [7, undefined],
        [8, true],
      ]);
    });

    test('as a ladder', async () => {
      const { code, stdout, stderr } = await evbctl(['decode', '-'], { input });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout.match(/ associate /g)).toHaveLength(3);
      expect(stdout).toMatch(
        /\n2 echoes: the bridge sent these frames back to their sender\n2 frames of other protocols left out\n$/,
      );
    });
  });

  test('what a frame says cannot steer the terminal', async () => {
    // An LLDPDU with a system name and a port description of escape sequences, in C0 and in C1.
    const octets = hex(
      `0180c2000000 020000000001 88cc 0207 04 020000000001 0403 05 1b63 0602 0079
        0a09 1b5d303b78071b5b4a 0806 c29b324ac285 0000`,
    );
    const input = Buffer.concat([pcapFileHeader(), pcapRecord(0, octets)]);
    const text = await evbctl(['decode', '-'], { input });
    expect(text.code).toBe(0);
    expect(text.stdout).not.toMatch(/[^\P{Cc}\n]/u);
    const documents = await evbctl(['decode', '--json', '-'], { input });
    expect(documents.stdout).not.toMatch(/[^\P{Cc}\n]/u);
    expect(JSON.parse(documents.stdout).lldp).toMatchObject({
      systemName: '\x1b]0;x\x07\x1b[J',
      portDescription: expect.any(String),
    });
  });
});

describe.runIf(needs({ programs: ['dbus-daemon'] }))('with a daemon', () => {
  let bus: TestBus;
  let daemon: FakeDaemon;
  let service: Service;

  beforeAll(async () => {
    bus = await startBus();
  });
  afterAll(() => bus[Symbol.asyncDispose]());
  beforeEach(async () => {
    daemon = new FakeDaemon();
    service = await startService({ daemon, bus: bus.address, log: new TestLog() });
  });
  afterEach(() => service.close());

  const run = (args: readonly string[], options: Options = {}) =>
    evbctl(args, { ...options, env: { EVBD_BUS: bus.address, ...options.env } });
  const start = (args: readonly string[]) => startEvbctl(args, { env: { EVBD_BUS: bus.address } });
  /** What a test needs to know is that the other side has come so far. */
  const until = (met: () => boolean) => vi.waitUntil(met, { timeout: 50_000, interval: 2 });
  const json = async (args: readonly string[], options: Options = {}) => {
    const { code, stdout, stderr } = await run([...args, '--json'], options);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    return JSON.parse(stdout);
  };
  /** Resolves when the daemon has got a request that it holds. */
  const held = async (count = 1) => {
    await until(() => daemon.held.length >= count);
    return daemon.held;
  };
  /** What it gives resolves when so many more have asked for the links; `wait` listens before it asks. */
  const listeners = async () => {
    // By now the service itself has nothing more to read.
    await run(['status']);
    const asked = vi.spyOn(daemon, 'links');
    return (count: number) => until(() => asked.mock.calls.length >= count);
  };
  /** Who connects to a bus from now on. */
  const newcomers = async (at: TestBus) => {
    const names: string[] = [];
    const connection = await Connection.open(at.address, 20_000, {
      signal: (envelope) => {
        if (envelope.member === 'NameOwnerChanged') names.push(String(envelope.readBody()[0]));
      },
    });
    await connection.callBus('AddMatch', 's', ["type='signal',member='NameOwnerChanged'"], 20_000);
    return { names, close: () => connection.close() };
  };
  const nobody: Partial<LinkStatus> = {
    protocol: 'none',
    relay: 'no-peer',
    relayReason: 'no EVB peer heard yet',
    peer: {},
  };

  test('no evbd on the bus: exit 3', async () => {
    await service.close();
    const { code, stderr } = await run(['status']);
    oneLine(stderr, /evbd is not on the bus unix:path=.*; start evbd \(evbd --config FILE\)/);
    expect(code).toBe(3);
  });

  test('status tells of a leak, and only of one', async () => {
    expect((await run(['status'])).stdout).not.toContain('leak');
    const leakReason = 'bridge br0 has spanning tree off: EVB frames leak to its other ports (leak: report)';
    daemon.putLink(link('swp1', { role: 'bridge', leak: 'open', leakReason }));
    const { stdout } = await run(['status', 'swp1']);
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain(`leak open: ${leakReason}`);
    expect(Math.max(...stdout.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(80);
  });

  test('status tells who reaches whom while slaves are in bridge mode', async () => {
    const slave = { kind: 'macvlan', mac: '52:54:00:00:00:01', vlan: 0, namespace: -1, vsi: ID, reason: '' };
    const shown = async (relay: RelayState, mode: string, more: Partial<typeof slave> = {}) => {
      const slaves = [{ ...slave, name: 'mv0', mode, ...more }];
      daemon.putLink(link('eth1', { ...nobody, relay, slaves }));
      const { stdout } = await run(['status', 'eth1']);
      expect(Math.max(...stdout.split('\n').map(({ length }) => length))).toBeLessThanOrEqual(80);
      return stdout.replaceAll(/\s+/g, ' ');
    };
    const none = 'VEPA guests here do not reach each other';
    const some = 'slaves that evbd has set to bridge mode reach each other, VEPA guests here do not';
    for (const relay of ['requested', 'refused', 'no-peer'] as const) {
      expect(await shown(relay, 'vepa')).toContain(none);
      expect(await shown(relay, 'bridge')).toContain(some);
    }
    expect(await shown('refused', 'bridge', { vsi: '', reason: 'not in VEPA mode' })).toContain(none);
    expect(await shown('active', 'bridge')).toContain('reach each other through the bridge');
  });

  test('status tells which members carry the frames of a bond', async () => {
    expect((await run(['status'])).stdout).not.toContain('members');
    daemon.putLink(link('bond0', { members: ['eth1', 'eth2'] }));
    expect((await run(['status', 'bond0'])).stdout).toMatch(
      /members +eth1, eth2 \(these carry its frames\)\n/,
    );
  });

  test('status', async () => {
    daemon.putLink(
      link('swp1', { role: 'bridge', relay: 'off', relayReason: 'the station does not request relay' }),
    );
    daemon.put(vsi('eth1', ID));
    expect(await json(['status'])).toEqual({
      links: daemon.links().sort((a, b) => (a.name < b.name ? -1 : 1)),
    });
    expect(await json(['status', 'swp1'])).toEqual({ links: [daemon.linksByName.get('swp1')] });
    const { code, stdout } = await run(['status']);
    expect(code).toBe(0);
    expect(stdout).toContain('eth1  station 02:00:00:00:00:01');
    expect(stdout).toContain('  relay      active: the bridge confirmed reflective relay');
    expect(stdout).toContain('  VSIs       1 associated');
    expect(stdout).toContain('  timers     ackTimer 163.84 ms, respWaitDelay 10.486 s');
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThan(81);
  });

  test('status: a reason is broken at blanks, names stay with their values', async () => {
    const relayReason = 'the bridge, which has said so three times by now, cannot reflect, whatever is asked';
    const counters = { framesReceivedOfSomebody: 1, framesReceivedOfNobody: 2, framesReceivedOfAll: 3 };
    daemon.putLink(link('eth1', { relay: 'refused', relayReason, counters }));
    const { stdout } = await run(['status']);
    expect(stdout).toContain(`  relay      refused: the bridge, which has said so three times by now, cannot
             reflect, whatever is asked
`);
    expect(stdout).toContain(`  counters   framesReceivedOfSomebody 1, framesReceivedOfNobody 2,
             framesReceivedOfAll 3
`);
  });

  test('status of what is not there, and of nothing', async () => {
    const { code, stderr } = await run(['status', 'eth9']);
    oneLine(stderr, /eth9 is no link of evbd; configured are: eth1/);
    expect(code).toBe(2);
    daemon.linksByName.clear();
    daemon.emit('linkRemoved', 'eth1');
    expect((await run(['status'])).stdout).toBe(
      'evbd has no links: name uplinks or ports in its configuration\n',
    );
  });

  test('vsi', async () => {
    daemon.put(vsi('eth1', ID));
    daemon.put({ ...vsi('eth1', OTHER, 'failed'), reason: 'the bridge refused: insufficient resources' });
    expect(await json(['vsi'])).toEqual({
      vsis: [vsi('eth1', OTHER, 'failed'), vsi('eth1', ID)].map((each) =>
        daemon.vsisByKey.get(`eth1/${each.id}`),
      ),
    });
    expect(await json(['--json', 'vsi', ID])).toEqual(daemon.vsisByKey.get(`eth1/${ID}`));
    expect(await json(['vsi', `eth1/${ID.toUpperCase()}`])).toEqual(daemon.vsisByKey.get(`eth1/${ID}`));
    const table = await run(['vsi']);
    expect(table.stdout).toContain(`associated  eth1  52:54:00:00:00:01/10@3  ${ID}\n`);
    expect(table.stdout).toContain('    the bridge refused: insufficient resources\n');
    const one = await run(['vsi', ID]);
    expect(one.stdout).toContain(`${ID}  on eth1\n`);
    expect(one.stdout).toMatch(
      / {2}history {4}\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} {2}associating\n {17}asked by D-Bus\n/,
    );
    for (const line of `${table.stdout}${one.stdout}`.split('\n')) expect(line.length).toBeLessThan(81);
  });

  test('vsi: unknown and ambiguous', async () => {
    const unknown = await run(['vsi', ID]);
    oneLine(unknown.stderr, /no VSI 9d3f1c20.*; evbctl vsi lists them/);
    expect(unknown.code).toBe(1);
    daemon.put(vsi('eth1', ID));
    daemon.put(vsi('eth2', ID));
    const ambiguous = await run(['vsi', ID]);
    oneLine(ambiguous.stderr, /is on several links; write eth1\/9d3f.* or eth2\/9d3f/);
    expect(ambiguous.code).toBe(1);
    expect((await json(['vsi', `eth2/${ID}`])).link).toBe('eth2');
    expect((await run(['vsi', '--bus', 'unix:path=/nonexistent'])).code).toBe(3);
  });

  test('associate and preassociate hand everything over', async () => {
    daemon.hold = true;
    const options = [
      '--id',
      ID,
      '--manager',
      '::1',
      '--type',
      '0x123456',
      '--type-version',
      '2',
      '--hint',
      'to',
    ];
    const filters = ['--filter', '52:54:00:0a:0b:0c/10@5', '--filter', '52-54-00-0A-0B-0D/0@0'];
    const expected = {
      id: ID,
      idFormat: 'uuid',
      manager: '::1',
      type: 0x123456,
      typeVersion: 2,
      hint: 'to',
      filters: [
        { mac: '52:54:00:0a:0b:0c', vid: 10, pcp: 5 },
        { mac: '52:54:00:0a:0b:0d', vid: 0, pcp: 0 },
      ],
    };
    const associating = run(['associate', 'eth1', ...options, ...filters, '--json']);
    const [associate] = await held();
    expect(associate).toMatchObject({ method: 'associate', link: 'eth1' });
    const { timeout, ...request } = associate!.request;
    expect(request).toEqual(expected);
    expect(timeout).toBeLessThanOrEqual(20_000);
    associate!.resolve(daemon.put(vsi('eth1', ID, 'associated', associate!.request)));
    const done = await associating;
    expect(JSON.parse(done.stdout)).toEqual(daemon.vsisByKey.get(`eth1/${ID}`));
    expect(done.code).toBe(0);

    const reserving = run([
      'preassociate',
      '--reserve',
      'eth1',
      ...guest,
      '--group',
      '7',
      '--pcp',
      '0',
      '--timeout',
      '5',
    ]);
    const [, reserve] = await held(2);
    expect(reserve).toMatchObject({
      method: 'preassociate',
      reserve: true,
      request: { mac: '52:54:00:0a:0b:0c', vlan: 10, group: 7, pcp: 0, profile: 'web' },
    });
    expect(reserve!.request.timeout).toBeLessThanOrEqual(5000);
    reserve!.resolve(daemon.put(vsi('eth1', OTHER, 'reserved')));
    expect(await reserving).toEqual({
      code: 0,
      stderr: '',
      stdout: `eth1: reserved 52:54:00:00:00:01/10@3 vsi ${OTHER}\n`,
    });
  });

  test.each<[EvbError['name'], number]>([
    ['Refused', 1],
    ['Conflict', 1],
    ['NotReady', 1],
    ['NoSuchVsi', 1],
    ['NoSuchLink', 2],
    ['InvalidArgument', 2],
    ['Timeout', 4],
  ])('%s: exit %i', async (name, expected) => {
    daemon.failure = new EvbError(name, 'eth1: what was wrong, and how to mend it');
    const verbs = [
      ['associate', 'eth1', ...guest],
      ['preassociate', 'eth1', ...guest],
      ['deassociate', ID],
      ['release', 'eth1'],
      ['probe', 'eth1'],
      ['reload'],
    ];
    const outcomes = await Promise.all(verbs.map((args) => run(args)));
    expect(outcomes).toEqual(
      verbs.map(([verb]) => ({
        // The configuration may be invalid, the command line `evbctl reload` is not.
        code: verb === 'reload' && expected === 2 && name === 'InvalidArgument' ? 1 : expected,
        stdout: '',
        stderr: `evbctl ${verb}: eth1: what was wrong, and how to mend it\n`,
      })),
    );
  });

  test('no answer: exit 4 at the deadline', async () => {
    daemon.hold = true;
    const { code, stderr } = await run(['associate', 'eth1', ...guest, '--timeout', '0.3']);
    oneLine(stderr, /eth1: evbd has not answered after 0.3 s; --timeout S waits longer/);
    expect(code).toBe(4);
  });

  test('evbd ends while it is asked: exit 3', async () => {
    daemon.hold = true;
    const running = run(['associate', 'eth1', ...guest]);
    await held();
    await service.close();
    const { code, stderr } = await running;
    oneLine(stderr, /evbd left the bus/);
    expect(code).toBe(3);
  });

  test('evbd is given the timeout that the user gave', async () => {
    daemon.hold = true;
    const running = run(['associate', 'eth1', ...guest, '--timeout', '50']);
    const [{ request, reject }] = (await held()) as [(typeof daemon.held)[0]];
    expect(request.timeout).toBe(50_000);
    reject(new EvbError('Timeout', 'eth1: no answer within 50 s'));
    expect(await running).toMatchObject({
      code: 4,
      stderr: 'evbctl associate: eth1: no answer within 50 s\n',
    });
  });

  test('deassociate and vsi take an id in any case, a link in its own', async () => {
    daemon.put(vsi('eth1', ID));
    expect((await run(['vsi', ID.toUpperCase()])).code).toBe(0);
    expect((await run(['vsi', `ETH1/${ID}`])).code).toBe(1);
    expect((await run(['deassociate', `ETH1/${ID}`])).code).toBe(1);
    expect(await run(['deassociate', `eth1/${ID.toUpperCase()}`])).toEqual({
      code: 0,
      stderr: '',
      stdout: `eth1/${ID}: deassociated\n`,
    });
    daemon.put(vsi('eth1', ID));
    expect((await run(['deassociate', ID.toUpperCase()])).code).toBe(0);
  });

  test('deassociate, release, reload', async () => {
    daemon.put(vsi('eth1', ID));
    expect(await run(['deassociate', `eth1/${ID}`])).toEqual({
      code: 0,
      stderr: '',
      stdout: `eth1/${ID}: deassociated\n`,
    });
    expect(daemon.deassociated).toEqual([`eth1/${ID}`]);
    const again = await run(['deassociate', ID]);
    oneLine(again.stderr, /no VSI /);
    expect(again.code).toBe(1);
    expect(await json(['release', 'eth1'])).toEqual({ link: 'eth1', released: true });
    expect(daemon.released).toEqual(['eth1']);
    expect(await json(['reload'])).toEqual({ changes: ['uplinks.eth1.vdp.rwd: 20 -> 21'] });
    expect((await run(['reload'])).stdout).toBe('uplinks.eth1.vdp.rwd: 20 -> 21\n');
  });

  describe('probe', () => {
    const nothing = { reflects: false, sent: 20, received: 0 };
    const { latencyMin: _, latencyMedian: __, latencyMax: ___, ...unanswered } = probeReport(nothing);

    test.each<[string, ProbeReport, number, string[]]>([
      ['reflected, as negotiated', probeReport(), 0, ['eth1: the bridge reflects as it says']],
      ['assumed', probeReport({ relay: 'assumed' }), 0, ['eth1: the bridge reflects as assumed']],
      [
        'not negotiated',
        probeReport({ relay: 'refused' }),
        0,
        ['eth1: the bridge reflects although that is not negotiated (relay refused)'],
      ],
      [
        'enforced',
        probeReport({ enforced: true }),
        0,
        ['eth1: the bridge reflects as it says', '  enforced   it lets in only addresses that it knows'],
      ],
      [
        'with a tag',
        probeReport({ vlan: 4094 }),
        0,
        [
          'eth1: the bridge reflects as it says',
          '  beware     they come back with the tag of VLAN 4094: untagged',
        ],
      ],
      [
        'some lost, one twice',
        probeReport({ received: 7, duplicates: 1 }),
        1,
        [
          'eth1: the bridge reflects as it says',
          '  beware     1 copy too many came back: more than one bridge reflects or there',
        ],
      ],
      [
        'not reflected, though negotiated',
        unanswered,
        1,
        ['eth1: the bridge says that it reflects but does not'],
      ],
      [
        'not reflected, though assumed',
        { ...unanswered, relay: 'assumed' },
        1,
        ['eth1: the bridge is assumed to reflect but does not'],
      ],
      [
        'not reflected, and no wonder',
        { ...unanswered, relay: 'no-peer' },
        1,
        ['eth1: the bridge does not reflect (relay no-peer)'],
      ],
      [
        'copies and nothing else',
        { ...unanswered, sent: 0, duplicates: 100 },
        1,
        [
          'eth1: the bridge may reflect or not: frames come back in other ways',
          '  beware     100 copies too many came back: more than one bridge reflects or',
        ],
      ],
    ])('%s', async (_what, report, code, head) => {
      daemon.report = report;
      const text = await run(['probe', 'eth1']);
      expect(text).toMatchObject({ code, stderr: '' });
      const lines = text.stdout.trimEnd().split('\n');
      expect(lines.filter((line) => line.length > 80)).toEqual([]);
      for (const [i, line] of head.entries()) expect(lines[i]!.slice(0, line.length)).toBe(line);
      expect(lines).toContain(`  frames     ${report.sent} sent, ${report.received} came back`);
      const latency = lines.find((line) => line.startsWith('  latency'));
      expect(latency).toBe(
        report.received === 0 ? undefined : '  latency    min 50 µs, median 100 µs, max 1.2 ms',
      );
      expect(lines.at(-1)).toBe('  between    02:1b:44:11:3a:b7 and 02:9c:05:e2:60:18');
      const machine = await run(['probe', 'eth1', '--json']);
      expect(machine).toMatchObject({ code, stderr: '' });
      expect(JSON.parse(machine.stdout)).toEqual(report);
    });
  });

  describe('associate --from', () => {
    const line = (n: number, more: object = {}) =>
      JSON.stringify({
        id: `9d3f1c20-75b1-4e0e-a4c6-${n.toString(16).padStart(12, '0')}`,
        mac: '52:54:00:0a:0b:0c',
        vlan: n,
        profile: 'web',
        ...more,
      });

    test('all are submitted together; one result a line, in order', async () => {
      daemon.hold = true;
      const count = 300;
      const input = Array.from({ length: count }, (_, i) => line(i)).join('\n');
      const running = run(['associate', 'eth1', '--from', '-', '--json'], { input });
      const requests = [...(await held(count))];
      for (const { request, resolve } of requests.reverse()) {
        resolve(daemon.put(vsi('eth1', request.id!, 'associated', request)));
      }
      const { code, stdout, stderr } = await running;
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const results = stdout
        .trimEnd()
        .split('\n')
        .map((text) => JSON.parse(text));
      expect(results.map((result) => [result.line, result.ok, result.state, result.filters[0].vid])).toEqual(
        Array.from({ length: count }, (_, i) => [i + 1, true, 'associated', i]),
      );
    });

    test('wrong lines are results too, the others are asked for', async () => {
      const input = [
        line(1),
        '',
        '{"mac":',
        '[1]',
        line(2, { vlan: 5000 }),
        line(3, { frob: 1 }),
        line(4, { 'type-version': 1 }),
        '{"id":"vm1","vlan":10,"profile":"web"}',
        '{"filters":[{"mac":"52:54:00:0a:0b:0c","vid":7}],"manager":1,"type":2,"type-version":3}',
        '{"mac":"01:00:5e:00:00:01","profile":"web"}',
        '{"filters":[{"mac":"00:00:00:00:00:00","vid":7}],"profile":"web"}',
      ].join('\n');
      const { code, stdout, stderr } = await run(['associate', '--from', '-', 'eth1', '--json'], { input });
      expect(code).toBe(1);
      expect(stderr).toBe('evbctl associate: 8 of 10 failed\n');
      const results = stdout
        .trimEnd()
        .split('\n')
        .map((text) => JSON.parse(text));
      expect(results.map(({ line, ok, error, state }) => [line, ok, error?.message ?? state])).toEqual([
        [1, true, 'associated'],
        [3, false, 'no JSON: "{\\"mac\\":"'],
        [4, false, expect.stringContaining('expected an object')],
        [5, false, 'vlan: expected an integer 0..4094, not 5000'],
        [6, false, expect.stringContaining('unknown key "frob"')],
        [7, false, expect.stringContaining('exclude each other')],
        [8, false, expect.stringContaining('"vm1" is no UUID')],
        [9, true, 'associated'],
        [10, false, 'mac: a group address is no guest MAC'],
        [11, false, 'mac: 00:00:00:00:00:00 is no guest MAC'],
      ]);
      const text = await run(['associate', '--from', '-', 'eth1'], { input });
      expect(text.code).toBe(1);
      expect(text.stdout.split('\n')[1]).toBe('eth1: line 3: no JSON: "{\\"mac\\":"');
    });

    test('refused by the bridge', async () => {
      daemon.failure = new EvbError('Refused', 'the bridge refused: insufficient resources');
      const { code, stdout } = await run(['preassociate', 'eth1', '--from', '-', '--json'], {
        input: line(1),
      });
      expect(code).toBe(1);
      expect(JSON.parse(stdout)).toMatchObject({
        line: 1,
        ok: false,
        mac: '52:54:00:0a:0b:0c',
        error: { name: 'Refused', message: 'the bridge refused: insufficient resources' },
      });
    });

    test('nothing to do', async () => {
      expect(await run(['associate', 'eth1', '--from', '-'], { input: '\n\n' })).toEqual({
        code: 0,
        stdout: '',
        stderr: '',
      });
    });
  });

  describe('wait', () => {
    test('what holds already', async () => {
      expect(await run(['wait', 'eth1', 'relay'])).toEqual({
        code: 0,
        stderr: '',
        stdout: 'eth1: relay active\n',
      });
      expect(await run(['wait', 'eth1', 'negotiated'])).toMatchObject({
        code: 0,
        stdout: 'eth1: negotiated, ratified\n',
      });
      expect(await json(['wait', 'eth1', 'relay'])).toEqual(link('eth1'));
    });

    test('what comes', async () => {
      daemon.putLink(link('eth1', nobody));
      const listens = await listeners();
      const negotiated = run(['wait', 'eth1', 'negotiated']);
      await listens(1);
      const relay = run(['wait', 'eth1', 'relay']);
      await listens(2);
      daemon.putLink(link('eth1', { relay: 'requested', relayReason: 'asked for' }));
      expect((await negotiated).code).toBe(0);
      daemon.putLink(link('eth1'));
      expect(await relay).toMatchObject({ code: 0, stdout: 'eth1: relay active\n' });
    });

    test('refused: exit 1 with the reason', async () => {
      daemon.putLink(link('eth1', { relay: 'refused', relayReason: 'the bridge says that it cannot' }));
      const { code, stderr } = await run(['wait', 'eth1', 'relay']);
      oneLine(stderr, /eth1: reflective relay is refused: the bridge says that it cannot/);
      expect(code).toBe(1);
      expect((await run(['wait', 'eth1', 'negotiated'])).code).toBe(0);
      daemon.putLink(
        link('eth1', { relay: 'off', relayReason: 'relay is not requested (reflective-relay: off)' }),
      );
      expect((await run(['wait', 'eth1', 'relay'])).code).toBe(1);
    });

    test.each(['relay', 'negotiated'])('%s of a released link: exit 1 with the reason', async (what) => {
      const released: Partial<LinkStatus> = {
        ...nobody,
        relayReason: 'released; evbctl reload takes it up again',
      };
      daemon.putLink(link('eth1', released));
      const { code, stderr } = await run(['wait', 'eth1', what]);
      oneLine(stderr, /eth1: released; evbctl reload takes it up again/);
      expect(code).toBe(1);
      // And when it is released while somebody waits.
      daemon.putLink(link('eth1', nobody));
      const listens = await listeners();
      const running = run(['wait', 'eth1', what]);
      await listens(1);
      daemon.putLink(link('eth1', released));
      expect(await running).toMatchObject({ code: 1 });
    });

    test('an unknown link: exit 2', async () => {
      const { code, stderr } = await run(['wait', 'eth9', 'relay']);
      oneLine(stderr, /eth9 is no link of evbd; configured are: eth1/);
      expect(code).toBe(2);
    });

    test('the deadline: exit 4 with the last reason', async () => {
      daemon.putLink(link('eth1', nobody));
      const { code, stderr } = await run(['wait', 'eth1', 'relay', '--timeout', '0.3']);
      oneLine(stderr, /eth1: reflective relay is not on \(no EVB peer heard yet\) after 0\.3 s/);
      expect(code).toBe(4);
    });

    test('an evbd that is still starting', async () => {
      await service.close();
      const seen = await newcomers(bus);
      const running = run(['wait', 'eth1', 'relay']);
      await until(() => seen.names.length > 0);
      service = await startService({ daemon, bus: bus.address, log: new TestLog() });
      expect(await running).toEqual({ code: 0, stderr: '', stdout: 'eth1: relay active\n' });
      await seen.close();
    });

    test('no evbd until the deadline: exit 3', async () => {
      await service.close();
      const { code, stderr } = await run(['wait', 'eth1', 'relay', '--timeout', '3']);
      oneLine(stderr, /evbd is not on the bus unix:path=.*; start evbd \(evbd --config FILE\)/);
      expect(code).toBe(3);
    });

    test('the bus ends while evbd is awaited: exit 3', async () => {
      const own = await startBus();
      const seen = await newcomers(own);
      const running = evbctl(['wait', 'eth1', 'relay', '--timeout', '50'], {
        env: { EVBD_BUS: own.address },
      });
      await until(() => seen.names.length > 0);
      await own[Symbol.asyncDispose]();
      const { code, stderr } = await running;
      oneLine(stderr, /bus unix:path=.*/);
      expect(code).toBe(3);
    });

    test('evbd ends: exit 3', async () => {
      daemon.putLink(link('eth1', nobody));
      const listens = await listeners();
      const running = run(['wait', 'eth1', 'relay']);
      await listens(1);
      await service.close();
      const { code, stderr } = await running;
      oneLine(stderr, /eth1: evbd has ended|evbd left the bus/);
      expect(code).toBe(3);
    });
  });

  test('monitor', async () => {
    const running = start(['monitor', '--json']);
    // Until the first event arrives nobody knows that it listens.
    const nudge = setInterval(() => daemon.putLink(link('swp9')) && daemon.emit('linkRemoved', 'swp9'), 20);
    expect(JSON.parse(await running.line())).toMatchObject({
      event: expect.stringMatching(/^link-/),
      link: 'swp9',
    });
    clearInterval(nudge);
    daemon.put(vsi('eth1', ID, 'associating'));
    daemon.put({ ...vsi('eth1', ID), reason: 'confirmed' });
    daemon.putLink(link('eth1', { relay: 'refused', relayReason: 'the bridge cannot' }));
    const events: Record<string, unknown>[] = [];
    while (events.length < 3) {
      const event = JSON.parse(await running.line());
      if (event.link !== 'swp9') events.push(event);
    }
    expect(events).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ event: 'vsi-added', link: 'eth1', id: ID }),
        expect.objectContaining({ event: 'link-changed', link: 'eth1', relay: 'refused' }),
      ]),
    );
    running.signal('SIGINT');
    expect(await running.ended).toMatchObject({ code: 0, stderr: '' });
  });

  test('monitor for people: what changed with its reason, 80 columns, no counters', async () => {
    const reason = 'the bridge confirmed it again (keepalive)';
    daemon.put(vsi('eth1', ID));
    const running = start(['monitor']);
    const seen: string[] = [];
    // Lines up to the one that matches, without those of the nudge.
    const upTo = async (pattern: RegExp) => {
      const lines: string[] = [];
      do {
        const line = await running.line();
        seen.push(line);
        if (!line.includes('swp9')) lines.push(line);
      } while (!pattern.test(seen.at(-1)!));
      return lines.map((line) => line.replace(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} /, '> '));
    };
    const nudge = setInterval(() => daemon.putLink(link('swp9')) && daemon.emit('linkRemoved', 'swp9'), 20);
    await upTo(/swp9 removed/);
    clearInterval(nudge);
    // Behind all that the nudge has done.
    daemon.putLink(link('swp10'));
    daemon.emit('linkRemoved', 'swp10');
    await upTo(/swp10 removed/);
    // What it asked for when it began is there too: a change of the reason alone is told with the state.
    await run(['status']);
    daemon.put({ ...vsi('eth1', ID), reason });
    expect((await upTo(/keepalive/)).join('\n')).toBe(`> eth1/${ID}\n    associated: ${reason}`);
    daemon.putLink(
      link('eth1', {
        relay: 'refused',
        relayReason: 'the bridge cannot',
        peer: {
          chassisId: '02:00:00:00:00:02',
          portId: 'f'.repeat(200),
          evb: false,
          ttl: 121,
          systemName: 'a\x1b[31m\nb',
        },
        counters: { framesSent: 18, framesReceived: 2 ** 41 },
      }),
    );
    const [relay, ...peer] = await upTo(/systemName/);
    expect(relay).toBe('> eth1 relay refused: the bridge cannot');
    expect(peer[0]).toBe('> eth1 peer chassisId 02:00:00:00:00:02,');
    expect(peer.join(' ')).toContain('no evb, ttl 121, systemName a\\x1b[31m\\x0ab');
    daemon.putLink(link('eth1', { counters: { framesSent: 19 } }));
    daemon.emit('vsiRemoved', vsi('eth1', ID));
    expect((await upTo(/removed/)).at(-1)).toMatch(/removed$/);
    expect(seen.filter((line) => line.length > 80)).toEqual([]);
    expect(seen.join('\n')).not.toMatch(/framesSent|[{}"]|undefined/);
    running.signal('SIGINT');
    expect(await running.ended).toMatchObject({ code: 0, stderr: '' });
  });

  test('status says that there are other neighbours who speak EVB', async () => {
    const shown = async (otherPeers: number) => {
      daemon.putLink(link('eth1', { peer: { ttl: 121, otherPeers } }));
      const { stdout } = await run(['status', 'eth1']);
      expect(stdout).toMatch(/^ *peer +ttl 121$/m);
      return stdout.replace(/\s+/g, ' ');
    };
    expect(await shown(1)).toContain('another neighbour that speaks EVB is not listened to: more than one');
    expect(await shown(2)).toContain('2 other neighbours that speak EVB are not listened to: more than one');
  });

  test('what the daemon tells cannot steer the terminal', async () => {
    const evil = 'x\x1b]0;title\x07\x9b2J\n\u202eabc';
    daemon.putLink(link('eth1', { relayReason: evil, peer: { systemName: evil, portDescription: evil } }));
    daemon.put({ ...vsi('eth1', ID, 'failed'), reason: evil, owner: evil, profile: evil });
    vi.spyOn(daemon, 'reload').mockResolvedValue([evil]);
    for (const args of [['status'], ['vsi'], ['vsi', ID], ['reload']]) {
      const { stdout } = await run(args);
      expect(stdout).not.toMatch(/[^\P{Cc}\n]|\u202e/u);
      expect(stdout).toContain('x\\x1b]0;title\\x07\\x9b2J\\x0a\\u202eabc');
      const documents = await run([...args, '--json']);
      expect(documents.stdout).not.toMatch(/[^\P{Cc}\n]|\u202e/u);
      expect(JSON.stringify(JSON.parse(documents.stdout))).toContain('\x9b');
    }
    daemon.failure = new EvbError('Refused', evil);
    const { stderr } = await run(['release', 'eth1']);
    expect(stderr).not.toMatch(/[^\P{Cc}\n]|\u202e/u);
  });

  test('trace, recorded as well', async () => {
    const frames = readCapture('vdp-nack-hard');
    const directory = await mkdtemp(join(tmpdir(), 'evbctl-'));
    const pcap = join(directory, 'trace.pcap');
    const send = () => {
      for (const { at, octets } of frames)
        daemon.emit('frame', 'eth1', 1_760_000_000 + at / 1000, true, octets);
    };
    // Frames go to those who watch: as soon as it does, these four come.
    const nudge = setInterval(send, 20);
    const { code, stdout, stderr } = await run(['trace', 'eth1', '--count', '4', '--pcap', pcap, '--json']);
    clearInterval(nudge);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const summaries = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).summary);
    expect(summaries).toHaveLength(4);
    expect(summaries).toContain('ECP request 1 | associate 52:54:00:b1:00:03/702 (vsi 0f3e6a5c…)');
    const decoded = await run(['decode', '--json', pcap]);
    expect(
      decoded.stdout
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).summary),
    ).toEqual(summaries);
    await rm(directory, { recursive: true });
  });

  test('trace until it is interrupted', async () => {
    const { octets } = readCapture('vdp-nack-hard')[0]!;
    const running = start(['trace', 'eth1']);
    const nudge = setInterval(() => daemon.emit('frame', 'eth1', 1_760_000_000, true, octets), 20);
    expect(await running.line()).toMatch(/^ {11}station 02:00:5e:10:00:01/);
    expect(await running.line()).toMatch(/^ {6}0 ms ├── ECP 1 associate 52:54:00:b1:00:03\/702/);
    clearInterval(nudge);
    running.signal('SIGINT');
    expect(await running.ended).toMatchObject({ code: 0, stderr: '' });
  });

  test('trace shows the time as exactly as evbd gives it', async () => {
    const { octets } = readCapture('vdp-nack-hard')[1]!;
    const times = async (step: number) => {
      let sent = 0;
      const nudge = setInterval(
        () => daemon.emit('frame', 'eth1', 1_760_000_000 + sent++ * step, true, octets),
        5,
      );
      const { stdout } = await run(['trace', 'eth1', '--count', '3']);
      clearInterval(nudge);
      return stdout.match(/[\d.]+ ms/g);
    };
    expect(await times(0.01)).toEqual(['0 ms', '10 ms', '20 ms']);
    expect((await times(0.0101))!.slice(1)).toEqual(['10.1 ms', '20.2 ms']);
  });

  test('trace of an unknown link, into a place that is not there', async () => {
    expect((await run(['trace', 'eth9'])).code).toBe(2);
    const { code, stderr } = await run(['trace', 'eth1', '--pcap', '/nonexistent/x.pcap']);
    oneLine(stderr, /--pcap \/nonexistent\/x\.pcap: the directory \/nonexistent does not exist/);
    expect(code).toBe(2);
  });
});
