/** The server against a connection that the test holds in its hands: what waits, in which order, and how much. */

import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import type { Connection } from '../../src/dbus/connection.ts';
import { ObjectServer } from '../../src/dbus/object-server.ts';
import {
  EncodedBody,
  type Envelope,
  ERROR,
  METHOD_CALL,
  METHOD_RETURN,
  type Message,
  NO_REPLY_EXPECTED,
  SIGNAL,
  type Value,
} from '../../src/dbus/wire.ts';

class FakeConnection {
  isOpen = true;
  backlog = 0;
  mostBacklog = 0;
  readonly sent: Omit<Message, 'serial'>[] = [];
  private congested = false;
  private waiting: (() => void)[] = [];

  send(message: Omit<Message, 'serial'>): number {
    this.sent.push(message);
    if (message.body instanceof EncodedBody) this.backlog += message.body.octets.length;
    this.mostBacklog = Math.max(this.mostBacklog, this.backlog);
    return this.sent.length;
  }

  drained(): Promise<void> {
    if (!this.congested) this.backlog = 0;
    return this.congested ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve();
  }

  congest(): void {
    this.congested = true;
    this.backlog = 1024 * 1024;
  }

  drain(): void {
    this.congested = false;
    this.backlog = 0;
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  of(member: string) {
    return this.sent.filter((message) => message.type === SIGNAL && message.member === member);
  }

  replies() {
    return this.sent.filter(({ type }) => type === METHOD_RETURN || type === ERROR);
  }
}

const ROOT = '/test';
let connection: FakeConnection;
let server: ObjectServer;
let values: Map<string, string>;
let reads: number;
let serial = 0;

const thing = {
  name: 'test.Thing',
  properties: {
    Value: {
      type: 's',
      changes: 'seldom' as const,
      get: (path: string) => {
        reads++;
        return values.get(path)!;
      },
    },
  },
};

function put(path: string, value: string): void {
  const isNew = !values.has(path);
  values.set(path, value);
  if (isNew) server.add(path, [thing]);
  else server.changed(path);
  server.emit(ROOT, 'test.Manager', 'Told', [path, value], { about: path });
}

function drop(path: string): void {
  server.emit(ROOT, 'test.Manager', 'Told', [path, 'gone'], { about: path });
  values.delete(path);
  server.remove(path);
}

function ask(sender: string, changes: Partial<Envelope> & { member: string }): number {
  const envelope = {
    type: METHOD_CALL,
    flags: 0,
    serial: ++serial,
    path: ROOT,
    sender,
    signature: '',
    bodyLength: 0,
    readBody: (): Value[] => [],
    ...changes,
  };
  server.handle(envelope, connection as unknown as Connection);
  return serial;
}

const EVERYTHING = { interface: 'org.freedesktop.DBus.ObjectManager', member: 'GetManagedObjects' };

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

beforeEach(() => {
  connection = new FakeConnection();
  values = new Map();
  reads = 0;
  const log = { info: expect.unreachable, warn: expect.unreachable, error: expect.unreachable };
  server = new ObjectServer({ root: ROOT, log });
  server.attach(connection as unknown as Connection);
  server.add(ROOT, [
    {
      name: 'test.Manager',
      methods: { Do: { in: {}, out: {}, call: () => [] } },
      signals: { Told: { path: 's', value: 's' } },
    },
  ]);
});
afterEach(() => server.close());

describe('reads', () => {
  test('that nobody hears the answer of are not made', async () => {
    put('/test/a', 'x');
    reads = 0;
    connection.sent.length = 0;
    const flags = NO_REPLY_EXPECTED;
    for (let i = 0; i < 1000; i++) ask(':1.1', { ...EVERYTHING, flags });
    ask(':1.1', { member: 'None', flags });
    ask(':1.1', { member: 'None', path: '/nowhere', flags });
    const heard = ask(':1.2', EVERYTHING);
    await until(() => connection.replies().length > 0);
    expect(connection.replies().map(({ replySerial }) => replySerial)).toEqual([heard]);
    expect(reads).toBe(0);
  });

  test('wait 128 of a sender; one more is refused; others are served in between', async () => {
    put('/test/a', 'x');
    connection.congest();
    const many = Array.from({ length: 134 }, () => ask(':1.1', EVERYTHING));
    const honest = ask(':1.2', EVERYTHING);
    const refused = connection.replies();
    expect(refused.map(({ replySerial }) => replySerial)).toEqual(many.slice(128));
    for (const { errorName } of refused) expect(errorName).toBe('org.freedesktop.DBus.Error.LimitsExceeded');
    connection.drain();
    await until(() => connection.replies().length === 135);
    const order = connection
      .replies()
      .slice(6)
      .map(({ replySerial }) => replySerial);
    expect(order.slice(0, 3)).toEqual([many[0], honest, many[1]]);
    expect(order.filter((each) => each !== honest)).toEqual(many.slice(0, 128));
  });

  test('of the same thing in one turn share their octets', async () => {
    for (let i = 0; i < 20; i++) put(`/test/o${i}`, 'x');
    connection.congest();
    for (let i = 0; i < 30; i++) ask(`:1.${i}`, EVERYTHING);
    connection.drain();
    await until(() => connection.replies().length === 30);
    const bodies = new Set(connection.replies().map(({ body }) => (body as EncodedBody).octets));
    // More than one only when serving was interrupted for longer than a turn may take.
    expect(bodies.size).toBeLessThanOrEqual(3);
  });

  test('are not answered while more than the bound is under way', async () => {
    for (let i = 0; i < 50; i++) put(`/test/o${i}`, 'x'.repeat(50_000));
    for (let i = 0; i < 40; i++) ask(`:1.${i}`, EVERYTHING);
    await until(() => connection.replies().length === 40);
    // One answer has 2.5 million octets; another is begun below 4 million.
    expect(connection.mostBacklog).toBeGreaterThan(2_500_000);
    expect(connection.mostBacklog).toBeLessThan(8_000_000);
  });
});

describe('signals to a bus that takes none', () => {
  test('what came and went is not told, the rest once, newest, in order', async () => {
    put('/test/old', '0');
    put('/test/gone', '0');
    connection.sent.length = 0;
    connection.congest();
    for (let i = 0; i < 5000; i++) {
      put(`/test/ghost${i}`, 'x');
      put('/test/old', String(i));
      put('/test/new', String(i));
      drop(`/test/ghost${i}`);
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    drop('/test/gone');
    const done = ask(':1.1', { interface: 'test.Manager', member: 'Do' });
    expect(connection.sent).toEqual([]);
    connection.drain();
    await until(() => connection.replies().length > 0);
    const told = connection.sent.map(({ member, replySerial }) => member ?? `reply ${replySerial}`);
    expect(told).toEqual([
      'Told',
      'PropertiesChanged',
      'InterfacesAdded',
      'Told',
      'Told',
      'InterfacesRemoved',
      `reply ${done}`,
    ]);
    expect(connection.of('Told').map(({ body }) => body)).toEqual([
      ['/test/old', '4999'],
      ['/test/new', '4999'],
      ['/test/gone', 'gone'],
    ]);
  });

  test('an object that somebody read before it was told is told to be gone', async () => {
    for (let i = 0; i < 200; i++) put(`/test/o${i}`, 'x');
    put('/test/read', 'x');
    ask(':1.1', EVERYTHING);
    await until(() => connection.replies().length > 0);
    drop('/test/read');
    await until(() => connection.of('InterfacesAdded').length === 200);
    ask(':1.1', { interface: 'test.Manager', member: 'Do' });
    await until(() => connection.replies().length === 2);
    expect(connection.of('InterfacesRemoved').map(({ body }) => body)).toEqual([
      ['/test/read', ['test.Thing']],
    ]);
  });

  test('many objects go out in portions', async () => {
    for (let i = 0; i < 1000; i++) put(`/test/o${i}`, 'x');
    let most = 0;
    while (connection.of('InterfacesAdded').length < 1000) {
      const before = connection.sent.length;
      await new Promise((resolve) => setImmediate(resolve));
      most = Math.max(most, connection.sent.length - before);
    }
    expect(most).toBeLessThanOrEqual(130);
    expect(new Set(connection.of('InterfacesAdded').map(({ body }) => (body as Value[])[0])).size).toBe(1000);
  });
});
