import { readFileSync } from 'node:fs';
import { connect as connectSocket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';

import {
  BusError,
  type Call,
  CallError,
  Connection,
  type ConnectionEvents,
} from '../../src/dbus/connection.ts';
import { type Service, startService } from '../../src/dbus/service.ts';
import {
  type Dictionary,
  type Envelope,
  encodeMessage,
  METHOD_CALL,
  type Value,
  Variant,
} from '../../src/dbus/wire.ts';
import { type ErrorName, EvbError } from '../../src/model.ts';
import { needs } from '../support/needs.ts';
import { busctl, gdbus, startBus, type TestBus } from './support/bus.ts';
import { FakeDaemon, link, TestLog, vsi } from './support/fake-daemon.ts';

// On a busy machine a bus takes its time; nothing here waits for a clock.
vi.setConfig({ testTimeout: 60_000 });

const ROOT = '/org/evbd1';
const MANAGER = 'org.evbd1.Manager';
const VSI = 'org.evbd1.Vsi';
const LINK = 'org.evbd1.Link';
const PROPERTIES = 'org.freedesktop.DBus.Properties';
const DEADLINE = 20_000;

/** A client that knows no more than the wire, and keeps the signals it gets. */
class Caller {
  connection!: Connection;
  readonly signals: { path: string; member: string; args: Value[] }[] = [];
  private readonly waiting = new Set<() => void>();

  static async open(bus: TestBus, events: ConnectionEvents = {}): Promise<Caller> {
    const caller = new Caller();
    caller.connection = await Connection.open(bus.address, DEADLINE, {
      ...events,
      signal: (envelope: Envelope) => {
        const { path = '', member = '' } = envelope;
        caller.signals.push({ path, member, args: envelope.readBody() });
        for (const check of caller.waiting) check();
      },
    });
    return caller;
  }

  async listen(): Promise<void> {
    await this.connection.callBus('AddMatch', 's', ["type='signal',sender='org.evbd1'"], DEADLINE);
  }

  manager(member: string, signature = '', body: readonly Value[] = []): Promise<Value[]> {
    return this.at({ path: ROOT, interface: MANAGER, member, signature, body });
  }

  at(call: Partial<Call> & { member: string }): Promise<Value[]> {
    return this.connection.call(
      { destination: 'org.evbd1', path: ROOT, interface: MANAGER, signature: '', body: [], ...call },
      DEADLINE,
    );
  }

  async get(path: string, name: string, property: string): Promise<Value> {
    const call = { path, interface: PROPERTIES, member: 'Get', signature: 'ss', body: [name, property] };
    const [value] = await this.at(call);
    return value!;
  }

  /** Octets of a whole message with this serial; gives the reply. */
  raw(serial: number, octets: Buffer): Promise<Value[]> {
    const { pending, socket } = this.connection as unknown as {
      pending: Map<number, unknown>;
      socket: { write(octets: Buffer): void };
    };
    return new Promise((resolve, reject) => {
      pending.set(serial, { resolve, reject, timer: undefined });
      socket.write(octets);
    });
  }

  async got(member: string, count = 1): Promise<{ path: string; args: Value[] }[]> {
    const found = () => this.signals.filter((signal) => signal.member === member);
    if (found().length < count) {
      await new Promise<void>((resolve) => {
        const check = () => {
          if (found().length < count) return;
          this.waiting.delete(check);
          resolve();
        };
        this.waiting.add(check);
      });
    }
    return found();
  }

  /** All signals sent before now have arrived: the bus keeps the order, and the service answers after them. */
  async settled(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    await this.at({ interface: 'org.freedesktop.DBus.Peer', member: 'Ping' });
  }
}

async function failure(promise: Promise<unknown>): Promise<{ name: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof CallError) return { name: error.errorName, message: error.message };
    throw error;
  }
  throw new Error('it succeeded');
}

const STANDARD = 'org.freedesktop.DBus.Error.';

describe.runIf(needs({ programs: ['dbus-daemon', 'setpriv'] }))('service', () => {
  let bus: TestBus;
  let daemon: FakeDaemon;
  let log: TestLog;
  let service: Service;
  let caller: Caller;
  let now: number;
  let timer: { run: () => void; milliseconds: number } | null;

  beforeAll(async () => {
    bus = await startBus();
  });
  afterAll(() => bus[Symbol.asyncDispose]());

  beforeEach(async () => {
    daemon = new FakeDaemon();
    log = new TestLog();
    now = 0;
    timer = null;
    const timers = {
      now: () => now,
      setTimeout: (run: () => void, milliseconds: number) => {
        timer = { run, milliseconds };
        return timer;
      },
      clearTimeout: () => {
        timer = null;
      },
    };
    service = await startService({ daemon, bus: bus.address, log, timers });
    caller = await Caller.open(bus);
  });
  afterEach(async () => {
    await caller.connection.close();
    await service.close();
    expect(log.lines.filter((line) => line.startsWith('error'))).toEqual([]);
  });

  describe('reading', () => {
    test('every object of the tree introspects itself and its children', async () => {
      daemon.put(vsi('eth1', 'a-b'));
      daemon.putLink(link('br-0', { role: 'bridge' }));
      const nodes: string[] = [];
      const walk = async (path: string) => {
        const call = { path, interface: 'org.freedesktop.DBus.Introspectable', member: 'Introspect' };
        const [xml] = (await caller.at(call)) as [string];
        nodes.push(path);
        expect(xml).toMatch(/^<!DOCTYPE node/);
        const isObject = /\/(link\/[^/]+|vsi\/[^/]+\/[^/]+)$/.test(path) || path === ROOT;
        expect(xml.includes(`"${PROPERTIES}"`)).toBe(isObject);
        expect(xml.includes('ObjectManager')).toBe(path === ROOT);
        for (const [, name] of xml.matchAll(/<node name="([^"]+)"\/>/g)) {
          await walk(path === '/' ? `/${name}` : `${path}/${name}`);
        }
      };
      await walk('/');
      expect(nodes).toEqual([
        '/',
        '/org',
        '/org/evbd1',
        '/org/evbd1/link',
        '/org/evbd1/link/eth1',
        '/org/evbd1/link/br_2d0',
        '/org/evbd1/vsi',
        '/org/evbd1/vsi/eth1',
        '/org/evbd1/vsi/eth1/a_2db',
      ]);
    });

    /** What introspection says of an interface. */
    const members = async (path: string, name: string) => {
      const call = { path, interface: 'org.freedesktop.DBus.Introspectable', member: 'Introspect' };
      const [xml] = (await caller.at(call)) as [string];
      const [, text = ''] = xml.split(`<interface name="${name}">`);
      const described = text.split('</interface>')[0]!;
      const found: string[] = [];
      for (const [, kind, member, rest = ''] of described.matchAll(
        /<(method|signal) name="(\w+)">(.*?)<\/\1>/gs,
      )) {
        const args = (direction: string) =>
          [...rest.matchAll(new RegExp(`type="([^"]+)"${direction}`, 'g'))].map(([, type]) => type).join('');
        found.push(
          kind === 'signal'
            ? `signal ${member}(${args('/>')})`
            : `${member}(${args(' direction="in"')})(${args(' direction="out"')})`,
        );
      }
      for (const [, property, type] of described.matchAll(
        /<property name="(\w+)" type="([^"]+)" access="read">/g,
      )) {
        found.push(`${property} ${type}`);
      }
      return found;
    };

    test('docs/dbus.md is what introspection says', async () => {
      daemon.put(vsi('eth1', 'one'));
      const text = readFileSync(new URL('../../docs/dbus.md', import.meta.url), 'utf8');
      const paths = { [MANAGER]: ROOT, [LINK]: '/org/evbd1/link/eth1', [VSI]: '/org/evbd1/vsi/eth1/one' };
      for (const [name, path] of Object.entries(paths)) {
        const exported = await members(path, name);
        const methods = exported.flatMap((each) => /^(\w+)\(/.exec(each)?.[1] ?? []);
        const section = text.split(`\n## ${name}\n`)[1]!.split('\n## ')[0]!;
        // Members begin with a capital, the keys of dictionaries do not.
        const rows = section.matchAll(/^\| (signal )?`([A-Z]\w+)` \| (.*?) \|/gm);
        const told = [...rows].map(([, signal, member = '', cell = '']) => {
          const [taken = '', given = ''] = cell.replaceAll(/[` ]/g, '').split('→');
          if (signal !== undefined) return `signal ${member}(${taken})`;
          return methods.includes(member) ? `${member}(${taken})(${given})` : `${member} ${taken}`;
        });
        expect(told).toEqual(exported);
      }
      const slave = { name: '', kind: '', mode: '', mac: '', vlan: 0, namespace: -1, vsi: '', reason: '' };
      daemon.putLink(link('eth1', { slaves: [slave] }));
      const { value } = (await caller.get('/org/evbd1/link/eth1', LINK, 'Slaves')) as Variant;
      const section = text.split('A **slave**')[1]!.split('\n## ')[0]!;
      const keys = [...section.matchAll(/^\| (`.*?`) \|/gm)].flatMap(([, cell = '']) => cell.split(', '));
      expect(keys).toEqual(Object.keys((value as Dictionary[])[0]!).map((key) => `\`${key}\``));
    });

    test('the contract is what introspection says', async () => {
      daemon.put(vsi('eth1', 'one'));
      expect(await members(ROOT, MANAGER)).toEqual([
        'Associate(sa{sv})(o)',
        'PreAssociate(sa{sv}b)(o)',
        'Deassociate(s)()',
        'Release(s)()',
        'Probe(s)(a{sv})',
        'Reload()(as)',
        'Watch(s)()',
        'Unwatch(s)()',
        'signal VsiChanged(sss)',
        'signal Frame(sdbay)',
        'Version s',
      ]);
      expect(await members('/org/evbd1/link/eth1', LINK)).toEqual([
        'Name s',
        'Role s',
        'Mac s',
        'Protocol s',
        'Relay s',
        'RelayReason s',
        'Leak s',
        'LeakReason s',
        'Members as',
        'Peer a{sv}',
        'Timers a{sd}',
        'Counters a{st}',
        'Slaves aa{sv}',
      ]);
      expect(await members('/org/evbd1/vsi/eth1/one', VSI)).toEqual([
        'Id s',
        'Link o',
        'State s',
        'Manager s',
        'Type u',
        'TypeVersion y',
        'Profile s',
        'Filters aa{sv}',
        'Hint s',
        'Owner s',
        'Reason s',
        'Since t',
        'History aa{sv}',
      ]);
    });

    test('GetManagedObjects has every link and every VSI', async () => {
      daemon.put(vsi('eth1', 'a-b', 'associating'));
      const [objects] = await caller.at({
        interface: 'org.freedesktop.DBus.ObjectManager',
        member: 'GetManagedObjects',
      });
      expect(objects).toEqual({
        '/org/evbd1/link/eth1': {
          [LINK]: {
            Name: new Variant('s', 'eth1'),
            Role: new Variant('s', 'station'),
            Mac: new Variant('s', '02:00:00:00:00:01'),
            Protocol: new Variant('s', 'ratified'),
            Relay: new Variant('s', 'active'),
            RelayReason: new Variant('s', 'the bridge confirmed reflective relay'),
            Leak: new Variant('s', 'none'),
            LeakReason: new Variant('s', ''),
            Members: new Variant('as', []),
            Peer: new Variant('a{sv}', {
              chassisId: new Variant('s', '02:00:00:00:00:02'),
              ttl: new Variant('u', 121),
              evb: new Variant('b', true),
              drift: new Variant('x', -3),
              load: new Variant('d', 0.5),
            }),
            Timers: new Variant('a{sd}', { ackTimer: 0.16384, respWaitDelay: 10.48576 }),
            Counters: new Variant('a{st}', { framesSent: 17, framesReceived: 2 ** 40 }),
            Slaves: new Variant('aa{sv}', []),
          },
        },
        '/org/evbd1/vsi/eth1/a_2db': {
          [VSI]: {
            Id: new Variant('s', 'a-b'),
            Link: new Variant('o', '/org/evbd1/link/eth1'),
            State: new Variant('s', 'associating'),
            Manager: new Variant('s', `${'0'.repeat(31)}1`),
            Type: new Variant('u', 0x123456),
            TypeVersion: new Variant('y', 1),
            Profile: new Variant('s', ''),
            Filters: new Variant('aa{sv}', [
              {
                mac: new Variant('s', '52:54:00:00:00:01'),
                vid: new Variant('q', 10),
                pcp: new Variant('y', 3),
              },
            ]),
            Hint: new Variant('s', 'none'),
            Owner: new Variant('s', 'dbus'),
            Reason: new Variant('s', 'the bridge confirmed'),
            Since: new Variant('t', 1_760_000_000_123_456),
            History: new Variant('aa{sv}', [
              {
                time: new Variant('t', 1_760_000_000_118_456),
                state: new Variant('s', 'associating'),
                reason: new Variant('s', 'asked by D-Bus'),
              },
              {
                time: new Variant('t', 1_760_000_000_123_456),
                state: new Variant('s', 'associating'),
                reason: new Variant('s', 'the bridge confirmed'),
              },
            ]),
          },
        },
      });
    });

    test('Get, GetAll and Set', async () => {
      expect(await caller.get(ROOT, MANAGER, 'Version')).toEqual(new Variant('s', '0.1.0-test'));
      expect(await caller.get(ROOT, '', 'Version')).toEqual(new Variant('s', '0.1.0-test'));
      const getAll = { interface: PROPERTIES, member: 'GetAll', signature: 's' };
      const version = { Version: new Variant('s', '0.1.0-test') };
      expect(await caller.at({ ...getAll, body: [MANAGER] })).toEqual([version]);
      expect(await caller.at({ ...getAll, body: ['org.freedesktop.DBus.Peer'] })).toEqual([{}]);
      expect(await failure(caller.at({ ...getAll, body: ['org.evbd1.None'] }))).toMatchObject({
        name: `${STANDARD}UnknownInterface`,
      });
      expect(await failure(caller.get(ROOT, MANAGER, 'Nothing'))).toMatchObject({
        name: `${STANDARD}UnknownProperty`,
      });
      expect(await failure(caller.get(ROOT, 'org.evbd1.None', 'Version'))).toMatchObject({
        name: `${STANDARD}UnknownInterface`,
      });
      const set = { interface: PROPERTIES, member: 'Set', signature: 'ssv' };
      expect(
        await failure(caller.at({ ...set, body: [MANAGER, 'Version', new Variant('s', 'x')] })),
      ).toMatchObject({
        name: `${STANDARD}PropertyReadOnly`,
      });
      expect(
        await failure(caller.at({ ...set, body: [MANAGER, 'None', new Variant('s', 'x')] })),
      ).toMatchObject({
        name: `${STANDARD}UnknownProperty`,
      });
    });

    test('Peer, at any path', async () => {
      for (const path of ['/', ROOT, '/nowhere']) {
        expect(await caller.at({ path, interface: 'org.freedesktop.DBus.Peer', member: 'Ping' })).toEqual([]);
      }
      const id = { interface: 'org.freedesktop.DBus.Peer', member: 'GetMachineId' };
      const answer = await caller.at(id).catch((error: CallError) => [error.errorName]);
      expect(answer[0]).toMatch(/^[0-9a-f]{32}$|Failed$/);
    });

    test('counters are as of the call, announced or not', async () => {
      daemon.linksByName.set('eth1', link('eth1', { counters: { framesSent: 18 } }));
      const counters = await caller.get('/org/evbd1/link/eth1', LINK, 'Counters');
      expect(counters).toEqual(new Variant('a{st}', { framesSent: 18 }));
    });

    test('a value that cannot be sent hides no other', async () => {
      daemon.put({ ...vsi('eth1', 'odd'), since: Number.NaN, reason: 'with\0nul' });
      const call = {
        path: '/org/evbd1/vsi/eth1/odd',
        interface: PROPERTIES,
        member: 'GetAll',
        signature: 's',
      };
      const [all] = await caller.at({ ...call, body: [VSI] });
      expect(Object.keys(all as object)).not.toContain('Since');
      expect((all as Dictionary)['Id']).toEqual(new Variant('s', 'odd'));
      expect(await failure(caller.get('/org/evbd1/vsi/eth1/odd', VSI, 'Since'))).toMatchObject({
        name: `${STANDARD}Failed`,
      });
      expect(log.lines.some((line) => line.includes('Since'))).toBe(true);
      log.lines.length = 0;
    });
  });

  describe('signals', () => {
    beforeEach(() => caller.listen());

    test('objects come and go', async () => {
      daemon.put(vsi('eth1', 'one'));
      daemon.deassociate('one');
      daemon.putLink(link('eth2'));
      daemon.linksByName.delete('eth2');
      daemon.emit('linkRemoved', 'eth2');
      const added = await caller.got('InterfacesAdded', 2);
      const removed = await caller.got('InterfacesRemoved', 2);
      expect(added.map(({ path, args }) => [path, args[0], Object.keys(args[1] as object)])).toEqual([
        [ROOT, '/org/evbd1/vsi/eth1/one', [VSI]],
        [ROOT, '/org/evbd1/link/eth2', [LINK]],
      ]);
      expect(removed.map(({ args }) => args)).toEqual([
        ['/org/evbd1/vsi/eth1/one', [VSI]],
        ['/org/evbd1/link/eth2', [LINK]],
      ]);
      expect(caller.signals.filter(({ member }) => member === 'VsiChanged').map(({ args }) => args)).toEqual([
        ['one', 'associated', 'the bridge confirmed'],
        ['one', 'deassociated', 'asked by D-Bus'],
      ]);
      const gone = { path: '/org/evbd1/link/eth2', interface: PROPERTIES, member: 'GetAll', signature: 's' };
      expect(await failure(caller.at({ ...gone, body: [LINK] }))).toMatchObject({
        name: `${STANDARD}UnknownObject`,
      });
    });

    test('PropertiesChanged has only what changed, once for one turn', async () => {
      const first = daemon.put(vsi('eth1', 'one', 'associating'));
      await caller.settled();
      daemon.put({ ...first, reason: 'waiting' });
      daemon.put({ ...first, reason: 'still waiting' });
      daemon.put({ ...first, state: 'associated', reason: 'the bridge confirmed it' });
      daemon.put({ ...first, state: 'associated', reason: 'the bridge confirmed it' });
      await caller.settled();
      expect(caller.signals.filter(({ member }) => member === 'PropertiesChanged')).toEqual([
        {
          path: '/org/evbd1/vsi/eth1/one',
          member: 'PropertiesChanged',
          args: [
            VSI,
            { State: new Variant('s', 'associated'), Reason: new Variant('s', 'the bridge confirmed it') },
            [],
          ],
        },
      ]);
      const told = caller.signals.filter(({ member }) => member === 'VsiChanged').map(({ args }) => args[2]);
      expect(told).toEqual(['the bridge confirmed', 'waiting', 'still waiting', 'the bridge confirmed it']);
    });

    test('counters are announced at most once a second', async () => {
      const counters = (framesSent: number) => daemon.putLink(link('eth1', { counters: { framesSent } }));
      const announced = async () => {
        await caller.settled();
        return caller.signals
          .filter(({ member }) => member === 'PropertiesChanged')
          .map(({ args }) => ((args[1] as Dictionary)['Counters'] as Variant).value);
      };
      now = 5000;
      counters(18);
      expect(await announced()).toEqual([{ framesSent: 18 }]);
      now = 5400;
      counters(19);
      counters(20);
      expect(await announced()).toEqual([{ framesSent: 18 }]);
      expect(timer?.milliseconds).toBe(600);
      now = 6000;
      timer?.run();
      expect(await announced()).toEqual([{ framesSent: 18 }, { framesSent: 20 }]);
    });

    test('what a call changed is told before it is answered', async () => {
      daemon.put(vsi('eth1', 'one', 'associating'));
      await caller.settled();
      await caller.manager('Associate', 'sa{sv}', ['eth1', { id: new Variant('s', 'one') }]);
      expect(caller.signals.at(-1)).toMatchObject({
        member: 'PropertiesChanged',
        path: '/org/evbd1/vsi/eth1/one',
      });
    });
  });

  describe('changing', () => {
    test('each method reaches the daemon', async () => {
      const dictionary: Dictionary = {
        id: new Variant('s', 'guest-1'),
        'id-format': new Variant('s', 'local'),
        filters: new Variant('aa{sv}', [
          {
            mac: new Variant('s', '52:54:00:00:00:09'),
            vid: new Variant('q', 4),
            group: new Variant('u', 0xffffffff),
            pcp: new Variant('y', 7),
          },
          { vid: new Variant('q', 0) },
        ]),
        manager: new Variant('s', 'fe80::1'),
        type: new Variant('u', 0xffffff),
        'type-version': new Variant('y', 255),
        hint: new Variant('s', 'from'),
        timeout: new Variant('u', 1000),
      };
      daemon.hold = true;
      const associate = caller.manager('Associate', 'sa{sv}', ['eth1', dictionary]);
      const reserve = caller.manager('PreAssociate', 'sa{sv}b', [
        'eth1',
        {
          mac: new Variant('s', '52:54:00:00:00:0A'),
          vlan: new Variant('q', 4094),
          profile: new Variant('s', 'web'),
        },
        true,
      ]);
      await caller.settled();
      const [first, second] = daemon.held;
      expect(first).toMatchObject({ method: 'associate', link: 'eth1' });
      expect(first!.request).toEqual({
        id: 'guest-1',
        idFormat: 'local',
        filters: [{ mac: '52:54:00:00:00:09', vid: 4, group: 0xffffffff, pcp: 7 }, { vid: 0 }],
        manager: 'fe80::1',
        type: 0xffffff,
        typeVersion: 255,
        hint: 'from',
        timeout: 1000,
      });
      expect(second).toMatchObject({ method: 'preassociate', reserve: true });
      expect(second!.request).toEqual({ mac: '52:54:00:00:00:0A', vlan: 4094, profile: 'web' });
      second!.resolve(vsi('eth1', 'second', 'reserved'));
      expect(await reserve).toEqual(['/org/evbd1/vsi/eth1/second']);
      first!.resolve(vsi('eth1', 'guest-1'));
      expect(await associate).toEqual(['/org/evbd1/vsi/eth1/guest_2d1']);

      daemon.put(vsi('eth1', 'third'));
      expect(await caller.manager('Deassociate', 's', ['eth1/third'])).toEqual([]);
      expect(daemon.deassociated).toEqual(['eth1/third']);
      expect(await caller.manager('Release', 's', ['eth1'])).toEqual([]);
      expect(daemon.released).toEqual(['eth1']);
      expect(await caller.manager('Probe', 's', ['eth1'])).toEqual([
        {
          link: new Variant('s', 'eth1'),
          reflects: new Variant('b', true),
          enforced: new Variant('b', false),
          relay: new Variant('s', 'active'),
          sent: new Variant('u', 10),
          received: new Variant('u', 10),
          duplicates: new Variant('u', 0),
          vlan: new Variant('q', 0),
          addresses: new Variant('as', ['02:1b:44:11:3a:b7', '02:9c:05:e2:60:18']),
          latencyMin: new Variant('d', 0.00005),
          latencyMedian: new Variant('d', 0.0001),
          latencyMax: new Variant('d', 0.0012),
        },
      ]);
      expect(await caller.manager('Reload')).toEqual([['uplinks.eth1.vdp.rwd: 20 -> 21']]);
    });

    test.each<ErrorName>([
      'Refused',
      'Timeout',
      'NoSuchLink',
      'NoSuchVsi',
      'NotReady',
      'Conflict',
      'InvalidArgument',
    ])("the daemon's %s has its name on the bus", async (name) => {
      daemon.failure = new EvbError(name, `what, where and how to mend it`);
      const expected = { name: `org.evbd1.Error.${name}`, message: 'what, where and how to mend it' };
      expect(await failure(caller.manager('Associate', 'sa{sv}', ['eth1', {}]))).toEqual(expected);
      expect(await failure(caller.manager('PreAssociate', 'sa{sv}b', ['eth1', {}, false]))).toEqual(expected);
      expect(await failure(caller.manager('Deassociate', 's', ['x']))).toEqual(expected);
      expect(await failure(caller.manager('Release', 's', ['eth1']))).toEqual(expected);
      expect(await failure(caller.manager('Probe', 's', ['eth1']))).toEqual(expected);
      expect(await failure(caller.manager('Reload'))).toEqual(expected);
    });

    test.each<[string, unknown]>([
      ['a system error', Object.assign(new Error('EIO: i/o error, write\nsecond line'), { code: 'EIO' })],
      ['an error without a stack', Object.assign(new Error('bare'), { stack: undefined })],
      ['undefined', undefined],
      ['what is no string', Object.create(null)],
      [
        'what throws when it is shown',
        {
          get toString() {
            throw new Error('not this either');
          },
        },
      ],
    ])(
      'whatever the daemon rejects with is a Failed of one line, in the log, and the end of nothing: %s',
      async (_, what) => {
        const rejects = () => Promise.reject(what);
        const throws = () => {
          throw what;
        };
        for (const fails of [rejects, throws]) {
          const methods = ['associate', 'preassociate', 'deassociate', 'release', 'probe', 'reload'] as const;
          for (const method of methods) vi.spyOn(daemon, method).mockImplementation(fails);
          const calls = [
            caller.manager('Associate', 'sa{sv}', ['eth1', {}]),
            caller.manager('PreAssociate', 'sa{sv}b', ['eth1', {}, true]),
            caller.manager('Deassociate', 's', ['x']),
            caller.manager('Release', 's', ['eth1']),
            caller.manager('Probe', 's', ['eth1']),
            caller.manager('Reload'),
          ];
          for (const { name, message } of await Promise.all(calls.map(failure))) {
            expect(name).toBe(`${STANDARD}Failed`);
            expect(message).toMatch(
              /^org\.evbd1\.Manager\.\w+ on \/org\/evbd1: evbd could not do this; its log says more$/,
            );
          }
        }
        expect(log.lines.filter((line) => /^error D-Bus call .* failed: /.test(line))).toHaveLength(12);
        log.lines.length = 0;
        expect(await caller.get(ROOT, MANAGER, 'Version')).toEqual(new Variant('s', daemon.version));
      },
    );

    test('a failure that is told in several lines goes over the bus as one', async () => {
      daemon.failure = new EvbError('Refused', 'no\n  and no');
      expect((await failure(caller.manager('Reload'))).message).toBe('no and no');
    });

    test('a fault in the daemon is a plain Failed and a line in the log', async () => {
      daemon.failure = new TypeError('x is not a function');
      const { name, message } = await failure(caller.manager('Reload'));
      expect(name).toBe(`${STANDARD}Failed`);
      expect(message).not.toContain('x is not a function');
      daemon.failure = 'not even an Error';
      expect((await failure(caller.manager('Reload'))).name).toBe(`${STANDARD}Failed`);
      expect(log.lines.join('\n')).toContain('x is not a function');
      log.lines.length = 0;
    });

    describe('VSI dictionary', () => {
      const integers: [string, number, number][] = [
        ['vlan', 0, 4094],
        ['group', 0, 0xffffffff],
        ['pcp', 0, 7],
        ['timeout', 1, 0x7fffffff],
      ];

      const associate = (dictionary: Dictionary) =>
        caller.manager('Associate', 'sa{sv}', ['eth1', dictionary]);
      const triple = {
        manager: new Variant('s', '1'),
        type: new Variant('u', 1),
        'type-version': new Variant('y', 1),
      };

      test.each(integers)('%s is %i..%i in any integer type', async (key, min, max) => {
        for (const signature of ['y', 'n', 'q', 'i', 'u', 'x', 't']) {
          await associate({ [key]: new Variant(signature, Math.max(min, 1)) });
        }
        for (const value of [min, max]) await associate({ [key]: new Variant('x', value) });
        for (const value of [min - 1, max + 1, 2n ** 62n]) {
          expect(await failure(associate({ [key]: new Variant('x', value) }))).toEqual({
            name: 'org.evbd1.Error.InvalidArgument',
            message: `${key}: expected an integer ${min}..${max}, not ${value}`,
          });
        }
        for (const wrong of [
          new Variant('s', '1'),
          new Variant('d', 1),
          new Variant('b', true),
          new Variant('ay', Uint8Array.of(1)),
          new Variant('v', new Variant('y', 1)),
        ]) {
          const { name, message } = await failure(associate({ [key]: wrong }));
          expect(name).toBe('org.evbd1.Error.InvalidArgument');
          expect(message).toContain(`${key}: expected an integer ${min}..${max}`);
        }
      });

      test.each([
        ['type', 0xffffff],
        ['type-version', 255],
      ])('%s is 0..%i', async (key, max) => {
        await associate({ ...triple, [key]: new Variant('i', 0) });
        await associate({ ...triple, [key]: new Variant('t', max) });
        for (const value of [-1, max + 1]) {
          expect(await failure(associate({ ...triple, [key]: new Variant('x', value) }))).toEqual({
            name: 'org.evbd1.Error.InvalidArgument',
            message: `${key}: expected an integer 0..${max}, not ${value}`,
          });
        }
      });

      test('manager may be a number, as in the configuration', async () => {
        daemon.hold = true;
        const done = associate({ ...triple, manager: new Variant('i', 255) });
        await caller.settled();
        expect(daemon.held[0]!.request.manager).toBe('255');
        daemon.held[0]!.resolve(vsi('eth1', 'x'));
        await done;
        daemon.hold = false;
        expect((await failure(associate({ ...triple, manager: new Variant('i', 256) }))).message).toBe(
          'manager: expected an integer 0..255, not 256',
        );
      });

      const filters = (...entries: Dictionary[]) => ({ filters: new Variant('aa{sv}', entries) });
      const vid = new Variant('q', 1);
      test.each<[string, Dictionary]>([
        ['id: expected a string, not 5', { id: new Variant('u', 5) }],
        [
          'id-format: expected uuid, ipv4, ipv6, mac or local, not "oid"',
          { 'id-format': new Variant('s', 'oid') },
        ],
        ['mac: expected an address like 52:54:00:12:34:56, not "52:54"', { mac: new Variant('s', '52:54') }],
        ['profile: expected the name of a configured profile, not ""', { profile: new Variant('s', '') }],
        ['manager: expected an integer 0..255, an IPv6', { ...triple, manager: new Variant('b', true) }],
        ['hint: expected none, from or to, not "sideways"', { hint: new Variant('s', 'sideways') }],
        ['unknown key "vLan"; known are id, id-format, mac', { vLan: vid }],
        ['unknown key "constructor"', { constructor: vid }],
        ['filters and vlan exclude each other', { ...filters({ vid }), vlan: vid }],
        ['filters and mac exclude', { ...filters({ vid }), mac: new Variant('s', '52:54:00:00:00:01') }],
        ['filters and group exclude', { ...filters({ vid }), group: vid }],
        ['filters and pcp exclude', { ...filters({ vid }), pcp: vid }],
        ['profile and manager exclude', { ...triple, profile: new Variant('s', 'web') }],
        ['profile and type exclude', { type: vid, profile: new Variant('s', 'web') }],
        ['type and type-version missing', { manager: new Variant('s', '1') }],
        ['filters: expected a non-empty array', filters()],
        ['filters: expected a non-empty array', { filters: new Variant('as', ['10']) }],
        ['filters: expected a non-empty array', { filters: new Variant('s', '10') }],
        ['filters[0].vid is missing', filters({ mac: new Variant('s', '52:54:00:00:00:01') })],
        [
          'filters[1].vid: expected an integer 0..4094, not 4095',
          filters({ vid }, { vid: new Variant('q', 4095) }),
        ],
        ['filters[0].pcp: expected an integer 0..7, not 8', filters({ vid, pcp: new Variant('y', 8) })],
        [
          'filters[0].group: expected an integer 0..4294967295',
          filters({ vid, group: new Variant('x', -1) }),
        ],
        ['filters[0].mac: expected an address', filters({ vid, mac: new Variant('s', 'x') })],
        ['filters[0]: unknown key "vlan"', filters({ vlan: vid })],
      ])('%s', async (message, dictionary) => {
        const error = await failure(associate(dictionary));
        expect(error.name).toBe('org.evbd1.Error.InvalidArgument');
        expect(error.message).toContain(message);
        expect(error.message).not.toContain('\n');
      });
    });

    test('a thousand calls in flight from one connection each', async () => {
      daemon.hold = true;
      const callers = await Promise.all(Array.from({ length: 10 }, () => Caller.open(bus)));
      const calls = callers.flatMap((each, i) =>
        Array.from({ length: 100 }, (_, j) =>
          each.manager('Associate', 'sa{sv}', ['eth1', { id: new Variant('s', `${i}-${j}`) }]),
        ),
      );
      await Promise.all(callers.map((each) => each.settled()));
      expect(daemon.held).toHaveLength(1000);
      // Answered last first, half of them refused.
      for (const [i, held] of daemon.held.reverse().entries()) {
        if (i % 2 === 0) held.resolve(vsi('eth1', held.request.id!));
        else held.reject(new EvbError('Refused', `no ${held.request.id}`));
      }
      const results = await Promise.allSettled(calls);
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(500);
      for (const [i, result] of results.entries()) {
        const id = `${Math.floor(i / 100)}-${i % 100}`;
        if (result.status === 'rejected') expect(result.reason.message).toBe(`no ${id}`);
        else expect(result.value).toEqual([`/org/evbd1/vsi/eth1/_3${id.replace('-', '_2d')}`]);
      }
      await Promise.all(callers.map((each) => each.connection.close()));
    });

    test('a caller that leaves before its answer', async () => {
      daemon.hold = true;
      const leaver = await Caller.open(bus);
      const call = leaver.manager('Associate', 'sa{sv}', ['eth1', {}]);
      call.catch(() => {});
      await leaver.settled();
      await leaver.connection.close();
      daemon.held[0]!.resolve(vsi('eth1', 'left-behind'));
      await caller.settled();
      expect(await caller.get(ROOT, MANAGER, 'Version')).toEqual(new Variant('s', '0.1.0-test'));
    });
  });

  describe('hostile calls', () => {
    test('what is not there has the standard names', async () => {
      const of = async (call: Partial<Call> & { member: string }) => (await failure(caller.at(call))).name;
      expect(await of({ member: 'Associate', path: '/org/evbd1/none' })).toBe(`${STANDARD}UnknownObject`);
      expect(await of({ member: 'Associate', interface: 'org.evbd1.None' })).toBe(
        `${STANDARD}UnknownInterface`,
      );
      expect(await of({ member: 'Associate', path: '/org/evbd1/link/eth1' })).toBe(
        `${STANDARD}UnknownInterface`,
      );
      expect(await of({ member: 'None' })).toBe(`${STANDARD}UnknownMethod`);
      expect(await of({ member: 'constructor' })).toBe(`${STANDARD}UnknownMethod`);
      expect(await of({ member: 'toString' })).toBe(`${STANDARD}UnknownMethod`);
      const unknownProperty = await failure(caller.get(ROOT, MANAGER, '__proto__'));
      expect(unknownProperty.name).toBe(`${STANDARD}UnknownProperty`);
    });

    test('wrong signatures', async () => {
      const of = async (member: string, signature: string, body: Value[]) => {
        const error = await failure(caller.manager(member, signature, body));
        expect(error.name).toBe(`${STANDARD}InvalidArgs`);
        return error.message;
      };
      expect(await of('Associate', '', [])).toBe('Associate takes arguments of signature "sa{sv}", not ""');
      await of('Associate', 'sa{ss}', ['eth1', { id: 'x' }]);
      await of('Deassociate', 'o', ['/x']);
      await of('Reload', 's', ['now']);
    });

    test('a call without an interface finds its method', async () => {
      const { connection } = caller;
      const reply = connection.call(
        { destination: 'org.evbd1', path: ROOT, interface: '', member: 'Reload' },
        DEADLINE,
      );
      expect(await reply).toEqual([['uplinks.eth1.vdp.rwd: 20 -> 21']]);
    });

    test('file descriptors that are not there, which end a process that uses dbus-next', async () => {
      const call = { type: METHOD_CALL, flags: 0, destination: 'org.evbd1', path: ROOT, interface: MANAGER };
      // Our writer refuses type h, so it goes out as u and is renamed, the last `u` of the signatures.
      const send = (serial: number, rest: { member: string; signature: string; body: Value[] }) => {
        const octets = encodeMessage({ ...call, ...rest, serial });
        octets[octets.lastIndexOf('\x01u\0', undefined, 'latin1') + 1] = 'h'.charCodeAt(0);
        return caller.raw(serial, octets);
      };
      const bare = send(1_000_000, { member: 'Release', signature: 'u', body: [0] });
      expect((await failure(bare)).name).toBe(`${STANDARD}InvalidArgs`);
      const body = ['eth1', { id: new Variant('u', 0) }];
      const inside = send(1_000_001, { member: 'Associate', signature: 'sa{sv}', body });
      expect((await failure(inside)).name).toBe(`${STANDARD}InvalidArgs`);
    });

    test('deep variants, __proto__, keys twice, megabytes', async () => {
      let deep = new Variant('s', 'x');
      for (let i = 0; i < 50; i++) deep = new Variant('v', deep);
      const associate = (dictionary: Value) =>
        failure(caller.manager('Associate', 'sa{sv}', ['eth1', dictionary]));
      expect((await associate({ id: deep })).name).toBe('org.evbd1.Error.InvalidArgument');
      const proto = [['__proto__', new Variant('s', 'x')]] as unknown as Value;
      expect((await associate(proto)).message).toContain('unknown key "__proto__"');
      const twice = [
        ['id', new Variant('s', 'x')],
        ['id', new Variant('s', 'y')],
      ] as unknown as Value;
      expect((await associate(twice)).name).toBe(`${STANDARD}InvalidArgs`);
      const long = new Variant('s', 'x'.repeat(2 * 1024 * 1024));
      expect((await associate({ id: long })).name).toBe(`${STANDARD}LimitsExceeded`);
    });

    test('answers that grow with the objects come one a turn', async () => {
      for (let i = 0; i < 100; i++) daemon.put(vsi('eth1', `v${i}`));
      let turns = 0;
      let counting: NodeJS.Immediate;
      const count = () => {
        turns++;
        counting = setImmediate(count);
      };
      count();
      const manager = { interface: 'org.freedesktop.DBus.ObjectManager', member: 'GetManagedObjects' };
      const replies = await Promise.all(Array.from({ length: 50 }, () => caller.at(manager)));
      clearImmediate(counting!);
      for (const [objects] of replies) expect(Object.keys(objects as object)).toHaveLength(101);
      expect(turns).toBeGreaterThanOrEqual(50);
      daemon.put({ ...vsi('eth1', 'v7'), reason: 'another' });
      const [objects] = (await caller.at(manager)) as [Record<string, Record<string, Dictionary>>];
      expect(objects['/org/evbd1/vsi/eth1/v7']![VSI]!['Reason']).toEqual(new Variant('s', 'another'));
    });

    test('a call that wants no reply gets none', async () => {
      caller.connection.send({
        type: METHOD_CALL,
        flags: 1,
        destination: 'org.evbd1',
        path: ROOT,
        interface: MANAGER,
        member: 'None',
        signature: '',
        body: [],
      });
      await caller.settled();
    });

    test("garbage to the bus is the bus's problem", async () => {
      const socket = connectSocket(bus.address.slice('unix:path='.length));
      const closed = new Promise((resolve) => socket.once('close', resolve));
      // The bus may reset the connection.
      socket.on('error', () => {});
      socket.resume().end(Buffer.alloc(100_000, 0xa5));
      await closed;
      expect(await caller.manager('Reload')).toHaveLength(1);
    });
  });

  describe('frames', () => {
    const frame = Uint8Array.of(1, 0x80, 0xc2, 0, 0, 0);

    test('go only to those who watch, only of the link they watch', async () => {
      daemon.putLink(link('eth2'));
      const other = await Caller.open(bus);
      await other.listen();
      await caller.manager('Watch', 's', ['eth1']);
      await caller.manager('Watch', 's', ['eth1']);
      daemon.emit('frame', 'eth1', 1.25, true, frame);
      daemon.emit('frame', 'eth2', 2.25, false, frame);
      const [got, ...more] = await caller.got('Frame');
      expect(got!.args).toEqual(['eth1', 1.25, true, frame]);
      await caller.manager('Watch', 's', ['eth2']);
      daemon.emit('frame', 'eth2', 3.25, false, frame);
      expect((await caller.got('Frame', 2))[1]!.args).toEqual(['eth2', 3.25, false, frame]);
      await caller.manager('Unwatch', 's', ['eth1']);
      await caller.manager('Unwatch', 's', ['eth2']);
      await caller.manager('Unwatch', 's', ['eth2']);
      daemon.emit('frame', 'eth1', 4.25, true, frame);
      await caller.settled();
      await other.settled();
      expect(more).toEqual([]);
      expect(await caller.got('Frame')).toHaveLength(2);
      expect(other.signals.filter(({ member }) => member === 'Frame')).toEqual([]);
      await other.connection.close();
    });

    test('of a link that is not there', async () => {
      expect(await failure(caller.manager('Watch', 's', ['eth9']))).toEqual({
        name: 'org.evbd1.Error.NoSuchLink',
        message: 'eth9 is no link of evbd; configured are: eth1',
      });
    });

    test('a watcher that leaves is forgotten', async () => {
      const leaver = await Caller.open(bus);
      await leaver.manager('Watch', 's', ['eth1']);
      const watchers = (service as unknown as { watchers: Map<string, unknown> }).watchers;
      expect([...watchers.keys()]).toEqual([leaver.connection.uniqueName]);
      await caller.connection.callBus(
        'AddMatch',
        's',
        [`type='signal',member='NameOwnerChanged',arg0='${leaver.connection.uniqueName}'`],
        DEADLINE,
      );
      await leaver.connection.close();
      await caller.got('NameOwnerChanged');
      // The bus told the service before it told us, or right after; it answers in order.
      await caller.settled();
      expect(watchers.size).toBe(0);
      daemon.emit('frame', 'eth1', 1, true, frame);
      await caller.settled();
    });
  });

  describe('authorization', () => {
    test('isAllowed decides on changes, and only on them', async () => {
      await service.close();
      const asked: string[] = [];
      const isAllowed = async (sender: string, member: string) => {
        asked.push(`${member} by ${sender === caller.connection.uniqueName}`);
        return false;
      };
      service = await startService({ daemon, bus: bus.address, log, isAllowed });
      const of = async (member: string, signature: string, body: Value[]) =>
        (await failure(caller.manager(member, signature, body))).name;
      expect(await of('Associate', 'sa{sv}', ['eth1', {}])).toBe(`${STANDARD}AccessDenied`);
      expect(await of('PreAssociate', 'sa{sv}b', ['eth1', {}, true])).toBe(`${STANDARD}AccessDenied`);
      expect(await of('Deassociate', 's', ['x'])).toBe(`${STANDARD}AccessDenied`);
      expect(await of('Release', 's', ['eth1'])).toBe(`${STANDARD}AccessDenied`);
      expect(await of('Probe', 's', ['eth1'])).toBe(`${STANDARD}AccessDenied`);
      expect(await of('Reload', '', [])).toBe(`${STANDARD}AccessDenied`);
      expect(await of('Watch', 's', ['eth1'])).toBe(`${STANDARD}AccessDenied`);
      expect(asked).toEqual(
        ['Associate', 'PreAssociate', 'Deassociate', 'Release', 'Probe', 'Reload', 'Watch'].map(
          (each) => `${each} by true`,
        ),
      );
      expect(await caller.get(ROOT, MANAGER, 'Version')).toEqual(new Variant('s', '0.1.0-test'));
    });
  });

  describe('the bus', () => {
    test('a second service is told who is there', async () => {
      const other = new FakeDaemon();
      const second = startService({ daemon: other, bus: bus.address, log });
      await expect(second).rejects.toThrow(BusError);
      expect(other.listenerCount('vsiChanged')).toBe(0);
      await expect(second).rejects.toThrow(
        `process ${process.pid} owns org.evbd1 already; stop it, or give another bus`,
      );
    });

    test('close gives the name back and lets the daemon go', async () => {
      await service.close();
      await service.close();
      expect(daemon.listenerCount('vsiChanged')).toBe(0);
      expect(await failure(caller.manager('Reload'))).toMatchObject({ name: `${STANDARD}ServiceUnknown` });
      service = await startService({ daemon, bus: bus.address, log });
      expect(await caller.manager('Reload')).toHaveLength(1);
    });

    test.each([
      ['unix:path=/nonexistent/bus', /^bus unix:path=\/nonexistent\/bus: no socket is there; start the bus/],
      ['unix:path=/nonexistent/a;unix:abstract=evbd-nobody', /nobody listens on it/],
      ['carrier-pigeon:coop=3', /is none that evbd knows; give system, session/],
      ['', /is none that evbd knows/],
      ['unix:path=%zz', /is not escaped correctly/],
    ])('%s cannot be reached', async (address, message) => {
      const attempt = startService({ daemon, bus: address, log });
      await expect(attempt).rejects.toThrow(BusError);
      await expect(attempt).rejects.toThrow(message);
    });

    test('lost and found again', async () => {
      await using own = await startBus();
      const elsewhere = new FakeDaemon();
      const ownLog = new TestLog();
      const lasting = await startService({ daemon: elsewhere, bus: own.address, log: ownLog });
      elsewhere.hold = true;
      const before = await Caller.open(own);
      const pending = before.manager('Associate', 'sa{sv}', ['eth1', {}]);
      const ended = expect(pending).rejects.toThrow(BusError);
      await before.settled();
      await before.manager('Watch', 's', ['eth1']);
      await own.stop();
      await ended;
      await ownLog.seen(/warn bus unix:.*; evbd goes on without it/);
      elsewhere.held[0]!.resolve(elsewhere.put(vsi('eth1', 'meanwhile')));
      elsewhere.emit('frame', 'eth1', 1, true, Uint8Array.of(1));
      await own.start();
      await ownLog.seen(/info bus .* is served again/);
      const after = await Caller.open(own);
      const [objects] = await after.at({
        interface: 'org.freedesktop.DBus.ObjectManager',
        member: 'GetManagedObjects',
      });
      expect(Object.keys(objects as object)).toEqual([
        '/org/evbd1/link/eth1',
        '/org/evbd1/vsi/eth1/meanwhile',
      ]);
      await after.connection.close();
      await lasting.close();
      expect(ownLog.lines.filter((line) => line.startsWith('error'))).toEqual([]);
    });
  });

  describe.runIf(needs({ programs: ['busctl', 'gdbus'] }))('driven by others', () => {
    test('busctl', async () => {
      daemon.put(vsi('eth1', 'a-b'));
      const tree = await busctl(bus, 'tree', '--list', 'org.evbd1');
      expect(tree.stdout.split('\n')).toEqual(expect.arrayContaining(['/org/evbd1/vsi/eth1/a_2db']));
      const introspect = await busctl(bus, 'introspect', 'org.evbd1', '/org/evbd1/link/eth1');
      expect(introspect).toMatchObject({ code: 0, stderr: '' });
      expect(introspect.stdout).toMatch(
        /\.RelayReason +property +s +"the bridge confirmed reflective relay"/,
      );
      const path = '/org/evbd1/vsi/eth1/a_2db';
      const property = await busctl(bus, 'get-property', 'org.evbd1', path, VSI, 'Since', 'State', 'Filters');
      expect(property.stdout).toBe(
        't 1760000000123456\ns "associated"\naa{sv} 1 3 "mac" s "52:54:00:00:00:01" "vid" q 10 "pcp" y 3\n',
      );
      const dictionary = [
        '4',
        'id',
        's',
        'x',
        'mac',
        's',
        '52:54:00:00:00:07',
        'vlan',
        'i',
        '9',
        'profile',
        's',
        'web',
      ];
      const call = await busctl(
        bus,
        'call',
        'org.evbd1',
        ROOT,
        MANAGER,
        'Associate',
        'sa{sv}',
        'eth1',
        ...dictionary,
      );
      expect(call.stdout).toBe('o "/org/evbd1/vsi/eth1/x"\n');
      const refused = await busctl(bus, 'call', 'org.evbd1', ROOT, MANAGER, 'Deassociate', 's', 'nobody');
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toContain('no VSI nobody; evbctl vsi lists them');
      const set = await busctl(bus, 'set-property', 'org.evbd1', ROOT, MANAGER, 'Version', 's', 'x');
      expect(set.code).not.toBe(0);
    });

    test('gdbus', async () => {
      daemon.put(vsi('eth1', 'a-b'));
      const introspect = await gdbus(
        bus,
        'introspect',
        '--recurse',
        '--dest',
        'org.evbd1',
        '--object-path',
        '/',
      );
      expect(introspect).toMatchObject({ code: 0, stderr: '' });
      expect(introspect.stdout).toContain('node /org/evbd1/vsi/eth1/a_2db {');
      expect(introspect.stdout).toContain("readonly s State = 'associated';");
      const call = await gdbus(
        bus,
        'call',
        '--dest=org.evbd1',
        `--object-path=${ROOT}`,
        `--method=${MANAGER}.PreAssociate`,
        'eth1',
        "{'id': <'y'>, 'vlan': <9>}",
        'true',
      );
      expect(call.stdout).toBe("(objectpath '/org/evbd1/vsi/eth1/y',)\n");
      const wrong = await gdbus(
        bus,
        'call',
        '--dest=org.evbd1',
        `--object-path=${ROOT}`,
        `--method=${MANAGER}.Associate`,
        'eth1',
        "{'vlan': <4095>}",
      );
      expect(wrong.stderr).toContain('org.evbd1.Error.InvalidArgument');
      expect(wrong.stderr).toContain('vlan: expected an integer 0..4094, not 4095');
    });
  });
});
