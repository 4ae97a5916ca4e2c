/** Floods of calls and of events, over a real bus: what they may cost, and that everybody ends with the right picture. */

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { type CallError, Connection } from '../../src/dbus/connection.ts';
import { type Service, startService } from '../../src/dbus/service.ts';
import {
  type Dictionary,
  type Envelope,
  encodeMessage,
  METHOD_CALL,
  type Value,
} from '../../src/dbus/wire.ts';
import type { VsiState } from '../../src/model.ts';
import { needs } from '../support/needs.ts';
import { startBus, type TestBus } from './support/bus.ts';
import { FakeDaemon, TestLog, vsi } from './support/fake-daemon.ts';

vi.setConfig({ testTimeout: 120_000 });

const DEADLINE = 100_000;
const EVERYTHING = {
  destination: 'org.evbd1',
  path: '/org/evbd1',
  interface: 'org.freedesktop.DBus.ObjectManager',
  member: 'GetManagedObjects',
};
const RELOAD = {
  destination: 'org.evbd1',
  path: '/org/evbd1',
  interface: 'org.evbd1.Manager',
  member: 'Reload',
};
const MEGABYTE = 1024 * 1024;

type Picture = Map<string, Dictionary>;

/** A client that believes what it is told: signals, and now and then a new answer in place of everything. */
class Observer {
  connection!: Connection;
  picture: Picture = new Map();
  /** By member, and by the VSI that VsiChanged names. */
  readonly counts = new Map<string, number>();

  static async open(bus: TestBus): Promise<Observer> {
    const observer = new Observer();
    observer.connection = await Connection.open(bus.address, DEADLINE, {
      signal: (envelope) => observer.hear(envelope),
    });
    await observer.connection.callBus('AddMatch', 's', ["type='signal',sender='org.evbd1'"], DEADLINE);
    return observer;
  }

  async look(): Promise<void> {
    const [objects] = await this.connection.call(EVERYTHING, DEADLINE);
    this.picture = pictureOf(objects!);
  }

  private hear(envelope: Envelope): void {
    const { path = '', member = '' } = envelope;
    const args = envelope.readBody();
    this.counts.set(member, (this.counts.get(member) ?? 0) + 1);
    if (member === 'VsiChanged') this.counts.set(`${args[0]}`, (this.counts.get(`${args[0]}`) ?? 0) + 1);
    if (member === 'InterfacesAdded') this.picture.set(args[0] as string, propertiesOf(args[1]!));
    if (member === 'InterfacesRemoved') this.picture.delete(args[0] as string);
    if (member === 'PropertiesChanged') {
      const known = this.picture.get(path);
      if (known !== undefined) Object.assign(known, args[1]);
    }
  }
}

function propertiesOf(interfaces: Value): Dictionary {
  return Object.assign({}, ...Object.values(interfaces as Dictionary));
}

function pictureOf(objects: Value): Picture {
  return new Map(
    Object.entries(objects as Dictionary).map(([path, interfaces]) => [path, propertiesOf(interfaces)]),
  );
}

/** The same numbers in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const STATES: VsiState[] = ['associating', 'associated', 'preassociated', 'reserved'];

describe.runIf(needs({ programs: ['dbus-daemon', 'setpriv'] }))('storms', () => {
  let bus: TestBus;
  let daemon: FakeDaemon;
  let log: TestLog;
  let service: Service;
  let asked: { links: number; vsis: number };

  beforeEach(async () => {
    bus = await startBus(undefined, 5000);
    daemon = new FakeDaemon();
    log = new TestLog();
    asked = { links: 0, vsis: 0 };
    const { links, vsis } = daemon;
    daemon.links = () => {
      asked.links++;
      return links.call(daemon);
    };
    daemon.vsis = () => {
      asked.vsis++;
      return vsis.call(daemon);
    };
  });
  afterEach(async () => {
    bus.thaw();
    await service.close();
    await bus[Symbol.asyncDispose]();
    // Nor was the bus given up at any time.
    expect(log.lines).toEqual([]);
  });

  function remove(id: string): void {
    const found = daemon.vsisByKey.get(`eth1/${id}`);
    if (found === undefined) return;
    daemon.vsisByKey.delete(`eth1/${id}`);
    daemon.emit('vsiRemoved', { ...found, state: 'deassociated', reason: 'the peer asked' });
  }

  function backlog(): number {
    return (service as unknown as { connection: Connection }).connection.backlog;
  }

  test('reads without a reply cost next to nothing, and others are answered', async () => {
    for (let i = 0; i < 1000; i++) daemon.put(vsi('eth1', `v${i}`));
    service = await startService({ daemon, bus: bus.address, log });
    const attacker = await Connection.open(bus.address, DEADLINE);
    const reader = await Connection.open(bus.address, DEADLINE);
    await reader.call(EVERYTHING, DEADLINE);
    const { socket } = attacker as unknown as { socket: Socket };
    const call = { type: METHOD_CALL, flags: 1, serial: 1_000_000, signature: '', body: [], ...EVERYTHING };
    const block = Buffer.concat(Array.from({ length: 100 }, () => encodeMessage(call)));
    const before = process.memoryUsage.rss();
    asked.links = 0;
    for (let i = 0; i < 500; i++) if (!socket.write(block)) await once(socket, 'drain');
    // What the attacker asks the bus now comes after all of it.
    await attacker.callBus('GetId', '', [], DEADLINE);
    const [objects] = await reader.call(EVERYTHING, DEADLINE);
    expect(Object.keys(objects as object)).toHaveLength(1001);
    expect(asked.links).toBeLessThanOrEqual(2);
    expect(process.memoryUsage.rss() - before).toBeLessThan(150 * MEGABYTE);
    await attacker.close();
    await reader.close();
  });

  test('one who asks without end is refused the excess, and another is answered', async () => {
    for (let i = 0; i < 200; i++) daemon.put(vsi('eth1', `v${i}`));
    service = await startService({ daemon, bus: bus.address, log });
    const greedy = await Connection.open(bus.address, DEADLINE);
    const reader = await Connection.open(bus.address, DEADLINE);
    asked.links = 0;
    const calls = Promise.allSettled(Array.from({ length: 1000 }, () => greedy.call(EVERYTHING, DEADLINE)));
    const [objects] = await reader.call(EVERYTHING, DEADLINE);
    expect(Object.keys(objects as object)).toHaveLength(201);
    let answered = 0;
    for (const result of await calls) {
      if (result.status === 'fulfilled') answered++;
      else expect((result.reason as CallError).errorName).toBe('org.freedesktop.DBus.Error.LimitsExceeded');
    }
    expect(answered).toBeGreaterThanOrEqual(128);
    expect(asked.links).toBeLessThanOrEqual(answered + 1);
    await greedy.close();
    await reader.close();
  });

  test('after a churn of thousands everybody has the same picture', async () => {
    for (let i = 0; i < 500; i++) daemon.put(vsi('eth1', `v${i}`));
    service = await startService({ daemon, bus: bus.address, log });
    const early = await Observer.open(bus);
    await early.look();
    const late = await Observer.open(bus);
    const below = numbers(7);
    const looks: Promise<void>[] = [];
    let events = 0;
    for (let round = 0; round < 300; round++) {
      for (let i = 0; i < 100; i++, events++) {
        const id = `v${below(3000)}`;
        if (below(3) === 0) remove(id);
        else daemon.put({ ...vsi('eth1', id, STATES[below(4)]), reason: `reason ${below(3)}` });
      }
      await turn();
      if (round % 40 === 20) looks.push(late.look(), ...(round % 80 === 60 ? [early.look()] : []));
    }
    await Promise.all(looks);
    for (const observer of [early, late]) {
      // Answered when everything before it has been told.
      await observer.connection.call(RELOAD, DEADLINE);
      const [objects] = await observer.connection.call(EVERYTHING, DEADLINE);
      const truth = pictureOf(objects!);
      expect(truth.size).toBe(daemon.vsisByKey.size + 1);
      expect([...observer.picture.keys()].sort()).toEqual([...truth.keys()].sort());
      for (const [path, properties] of truth) expect(observer.picture.get(path)).toEqual(properties);
      await observer.connection.close();
    }
    const told = [...early.counts.entries()].filter(([name]) => /^[A-Z]/.test(name));
    expect(told.reduce((sum, [, count]) => sum + count, 0)).toBeLessThan(events);
    expect(asked.vsis).toBe(1);
  });

  test('a bus that hangs holds nothing up, and hears the newest of each when it is back', async () => {
    service = await startService({ daemon, bus: bus.address, log });
    const observer = await Observer.open(bus);
    for (let i = 0; i < 500; i++) daemon.put(vsi('eth1', `v${i}`));
    await observer.connection.call(RELOAD, DEADLINE);
    observer.counts.clear();
    bus.freeze();
    const before = process.memoryUsage.rss();
    let most = 0;
    for (let round = 0; round < 400; round++) {
      for (let i = 0; i < 50; i++) {
        daemon.put(vsi('eth1', `ghost-${round}-${i}`));
        daemon.put({ ...vsi('eth1', `v${i * 10}`), reason: `reason ${round}` });
        remove(`ghost-${round}-${i}`);
      }
      await turn();
      most = Math.max(most, backlog());
    }
    expect(most).toBeLessThan(MEGABYTE);
    expect(process.memoryUsage.rss() - before).toBeLessThan(150 * MEGABYTE);
    bus.thaw();
    await observer.connection.call(RELOAD, DEADLINE);
    await observer.connection.call(EVERYTHING, DEADLINE);
    const [objects] = await observer.connection.call(EVERYTHING, DEADLINE);
    const known = new Map([...observer.picture].filter(([path]) => path.includes('/vsi/')));
    const truth = new Map([...pictureOf(objects!)].filter(([path]) => path.includes('/vsi/')));
    expect(known).toEqual(truth);
    // 20,000 came and went, 20,000 times one of 50 changed; what the sockets took before they were full was told.
    expect(observer.counts.get('InterfacesAdded') ?? 0).toBeLessThan(2000);
    expect(observer.counts.get('PropertiesChanged')).toBeLessThan(4000);
    await observer.connection.close();
  });

  test('a VSI that is told changes to the newest when many do', async () => {
    service = await startService({ daemon, bus: bus.address, log });
    const observer = await Observer.open(bus);
    for (let i = 0; i < 1000; i++) daemon.put(vsi('eth1', `v${i}`));
    await observer.connection.call(RELOAD, DEADLINE);
    observer.counts.clear();
    for (let change = 0; change < 10; change++) {
      for (let i = 0; i < 1000; i++) daemon.put({ ...vsi('eth1', `v${i}`), reason: `reason ${change}` });
    }
    await observer.connection.call(RELOAD, DEADLINE);
    expect(observer.counts.get('PropertiesChanged')).toBe(1000);
    // The first few at once, as while all is quiet; then the newest of each.
    expect(observer.counts.get('VsiChanged')).toBeLessThanOrEqual(1064);
    expect(observer.counts.get('v999')).toBe(1);
    await observer.connection.close();
  });
});
