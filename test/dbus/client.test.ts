import { once } from 'node:events';
import { createServer } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';

import { type Client, connect, Timeout, Unreachable } from '../../src/dbus/client.ts';
import { CallError } from '../../src/dbus/connection.ts';
import { type Service, startService } from '../../src/dbus/service.ts';
import { fromVsiRequest, toVsiRequest } from '../../src/dbus/vsi-dictionary.ts';
import { decodeMessage, encodeMessage, METHOD_RETURN, messageLength } from '../../src/dbus/wire.ts';
import { EvbError, type VsiRequest } from '../../src/model.ts';
import { needs } from '../support/needs.ts';
import { startBus, type TestBus } from './support/bus.ts';
import { FakeDaemon, link, TestLog, vsi } from './support/fake-daemon.ts';

// On a busy machine a bus takes its time; nothing here waits for a clock.
vi.setConfig({ testTimeout: 60_000 });

test('a request survives its dictionary', () => {
  const requests: VsiRequest[] = [
    {},
    {
      id: 'x',
      idFormat: 'local',
      mac: '52:54:00:00:00:01',
      vlan: 0,
      group: 1,
      pcp: 7,
      profile: 'web',
      hint: 'to',
    },
    { filters: [{ vid: 4 }, { mac: '52:54:00:00:00:01', vid: 4094, group: 0xffffffff, pcp: 0 }], timeout: 1 },
    { manager: '::1', type: 0xffffff, typeVersion: 255 },
  ];
  for (const request of requests) expect(toVsiRequest(fromVsiRequest(request))).toEqual(request);
  for (const vlan of [-1, 4095, 1.5, 2 ** 60]) {
    expect(() => toVsiRequest(fromVsiRequest({ vlan }))).toThrow(/^vlan: expected an integer 0\.\.4094, not/);
  }
});

describe.runIf(needs({ programs: ['dbus-daemon', 'setpriv'] }))('client', () => {
  let bus: TestBus;
  let daemon: FakeDaemon;
  let service: Service;
  let client: Client;

  beforeAll(async () => {
    bus = await startBus();
  });
  afterAll(() => bus[Symbol.asyncDispose]());
  beforeEach(async () => {
    daemon = new FakeDaemon();
    service = await startService({ daemon, bus: bus.address, log: new TestLog() });
    client = await connect(bus.address, 20_000);
  });
  afterEach(async () => {
    await client.close();
    await service.close();
  });

  test('links and VSIs are as the daemon has them', async () => {
    daemon.put(vsi('eth1', '52540000-0000-4000-8000-000000000001'));
    daemon.put(vsi('eth1', '', 'failed'));
    daemon.putLink(link('br-0.100', { role: 'bridge', peer: {}, counters: {}, timers: {} }));
    expect(await client.links()).toEqual(daemon.links());
    expect(await client.vsis()).toEqual(daemon.vsis());
    expect(await client.status()).toEqual({ links: daemon.links(), vsis: daemon.vsis() });
    expect(await client.version()).toBe(daemon.version);
  });

  test('each method', async () => {
    const path = await client.associate('eth1', { id: 'one', vlan: 7 });
    expect(await client.vsi(path)).toEqual(daemon.vsisByKey.get('eth1/one'));
    const reserved = await client.preassociate('eth1', { id: 'two' }, true);
    expect((await client.vsi(reserved)).state).toBe('reserved');
    await client.deassociate('eth1/one');
    expect(daemon.deassociated).toEqual(['eth1/one']);
    await client.release('eth1');
    expect(daemon.released).toEqual(['eth1']);
    expect(await client.probe('eth1')).toEqual(daemon.report);
    expect(await client.reload()).toEqual(['uplinks.eth1.vdp.rwd: 20 -> 21']);
  });

  test('errors come back as what they were', async () => {
    daemon.failure = new EvbError('Conflict', 'rule 1 owns it');
    const conflict = await client.deassociate('x').catch((error: unknown) => error);
    expect(conflict).toBeInstanceOf(EvbError);
    expect(conflict).toMatchObject({ name: 'Conflict', message: 'rule 1 owns it' });
    await expect(client.associate('eth1', { vlan: 4095 })).rejects.toMatchObject({ name: 'InvalidArgument' });
    daemon.failure = new Error('a fault');
    await expect(client.reload()).rejects.toThrow(CallError);
  });

  test('a missed deadline', async () => {
    const impatient = await connect(bus.address, 20_000);
    daemon.hold = true;
    daemon.deassociate = () => new Promise(() => {});
    await expect(impatient.deassociate('x', 1)).rejects.toThrow(Timeout);
    await impatient.close();
  });

  test('what happens is told', async () => {
    const events: unknown[] = [];
    for (const name of [
      'vsiChanged',
      'linkAdded',
      'linkUpdated',
      'linkRemoved',
      'vsiAdded',
      'vsiUpdated',
    ] as const) {
      client.on(name, (...args: unknown[]) => events.push([name, ...args]));
    }
    const removed = once(client, 'vsiRemoved');
    await client.subscribe();
    const eth2 = daemon.putLink(link('eth2'));
    const one = daemon.put(vsi('eth2', 'a-b', 'associating'));
    await client.version();
    const done = { ...one, state: 'associated' as const, filters: [{ vid: 12 }] };
    daemon.putLink({ ...eth2, relay: 'refused', peer: {} });
    daemon.put(done);
    await new Promise((resolve) => setImmediate(resolve));
    daemon.emit('linkRemoved', 'eth2');
    daemon.emit('vsiRemoved', done);
    expect(await removed).toEqual([{ link: 'eth2', id: 'a-b' }]);
    expect(events).toEqual([
      ['linkAdded', eth2],
      ['vsiAdded', one],
      ['vsiChanged', 'a-b', 'associating', one.reason],
      ['vsiChanged', 'a-b', 'associated', one.reason],
      ['linkUpdated', 'eth2', { relay: 'refused', peer: {} }],
      ['vsiUpdated', { link: 'eth2', id: 'a-b' }, { state: 'associated', filters: [{ vid: 12 }] }],
      ['linkRemoved', 'eth2'],
    ]);
  });

  test('frames of a watched link', async () => {
    await client.watch('eth1');
    const frame = once(client, 'frame');
    daemon.emit('frame', 'eth1', 12.5, false, Uint8Array.of(1, 2, 3));
    expect(await frame).toEqual(['eth1', 12.5, false, Uint8Array.of(1, 2, 3)]);
    await client.unwatch('eth1');
    await expect(client.watch('eth9')).rejects.toMatchObject({ name: 'NoSuchLink' });
  });

  test('a signal that somebody else sends to us alone is not believed', async () => {
    const liar = await connect(bus.address);
    const events: unknown[] = [];
    client.on('vsiChanged', (id) => events.push(id));
    const inner = (each: Client) =>
      (each as unknown as { lanes: { connection: import('../../src/dbus/connection.ts').Connection }[] })
        .lanes[0]!.connection;
    inner(liar).send({
      type: 4,
      flags: 0,
      path: '/org/evbd1',
      interface: 'org.evbd1.Manager',
      member: 'VsiChanged',
      destination: inner(client).uniqueName,
      signature: 'sss',
      body: ['one', 'associated', 'believe me'],
    });
    // In order: the lie, then this answer.
    await inner(liar).callBus('GetId', '', [], 20_000);
    await client.version();
    expect(events).toEqual([]);
    await liar.close();
  });

  test('a thousand calls in flight on a bus that takes 128 a connection', async () => {
    daemon.hold = true;
    const thousand = new Promise<void>((resolve) => {
      const { push } = daemon.held;
      daemon.held.push = (...items) => {
        const length = push.apply(daemon.held, items);
        if (length === 1000) resolve();
        return length;
      };
    });
    const calls = Array.from({ length: 1000 }, (_, i) => client.associate('eth1', { id: `v${i}` }));
    await thousand;
    for (const { request, resolve } of daemon.held.reverse()) resolve(vsi('eth1', request.id!));
    const paths = await Promise.all(calls);
    expect(paths).toEqual(calls.map((_, i) => `/org/evbd1/vsi/eth1/v${i}`));
    // Watch still goes where the frames come to.
    await client.watch('eth1');
    const frame = once(client, 'frame');
    daemon.emit('frame', 'eth1', 1, false, Uint8Array.of(1));
    await frame;
  });

  test('more calls than all connections take wait for their turn', async () => {
    const calls = Array.from({ length: 2500 }, (_, i) => client.associate('eth1', { id: `v${i}` }));
    await Promise.all(calls);
    expect(daemon.vsisByKey.size).toBe(2500);
  });

  test('a daemon that leaves and comes back', async () => {
    await client.subscribe();
    const left = once(client, 'daemon');
    daemon.hold = true;
    const pending = client.associate('eth1', {});
    const unanswered = expect(pending).rejects.toThrow(Unreachable);
    await client.version();
    await service.close();
    expect(await left).toEqual([false]);
    await unanswered;
    await expect(client.reload()).rejects.toThrow(
      /^evbd is not on the bus unix:path=.*; start evbd \(evbd --config FILE\)/,
    );
    await expect(connect(bus.address)).rejects.toThrow(Unreachable);
    const back = once(client, 'daemon');
    service = await startService({ daemon, bus: bus.address, log: new TestLog() });
    expect(await back).toEqual([true]);
    const changed = once(client, 'vsiAdded');
    daemon.put(vsi('eth1', 'later'));
    await changed;
  });

  test('a bus that goes away', async () => {
    await using own = await startBus();
    const lasting = await startService({ daemon, bus: own.address, log: new TestLog() });
    const lost = await connect(own.address);
    const closed = once(lost, 'closed');
    daemon.hold = true;
    const pending = expect(lost.associate('eth1', {})).rejects.toThrow(Unreachable);
    await lost.version();
    await own.stop();
    await pending;
    expect(await closed).toEqual([expect.any(Unreachable)]);
    await expect(lost.reload()).rejects.toThrow(Unreachable);
    await lost.close();
    await expect(connect(own.address)).rejects.toThrow(/nobody listens on it|no socket is there/);
    await lasting.close();
  });

  test('nothing on the other side of the socket talks D-Bus', async () => {
    const path = `${bus.directory}/other`;
    const servers = [
      { answer: 'HTTP/1.1 400 Bad Request\r\n\r\n', message: /does not accept this user/ },
      { answer: 'REJECTED EXTERNAL\r\n', message: /does not accept this user \(REJECTED EXTERNAL\)/ },
      { answer: `DATA\r\nOK 00\r\n${'garbage '.repeat(20)}`, message: /is no D-Bus message/ },
      { answer: 'x'.repeat(20_000), message: /is no message bus/ },
      { answer: '', message: /no answer within 50 ms/ },
    ];
    for (const { answer, message } of servers) {
      const server = createServer((socket) => {
        socket.on('error', () => {});
        socket.resume().write(answer);
      });
      server.listen(path);
      await once(server, 'listening');
      const attempt = connect(`unix:path=${path}`, answer === '' ? 50 : 20_000);
      await expect(attempt).rejects.toThrow(message);
      await expect(attempt).rejects.toThrow(Unreachable);
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test.each([
    [['s', '7/../../x;reboot'], false],
    [['u', 0], false],
    [['d', 7.5], false],
    [['u', 7], true],
  ] as const)('a process id is a number, whatever the bus: %j', async ([signature, pid], good) => {
    const path = `${bus.directory}/liar`;
    const server = createServer((socket) => {
      let received = Buffer.alloc(0);
      socket.on('error', () => {}).write('DATA\r\nOK 00\r\n');
      socket.on('data', (octets) => {
        received = Buffer.concat([received, octets]);
        const begin = received.indexOf('BEGIN\r\n');
        if (begin >= 0) received = received.subarray(begin + 'BEGIN\r\n'.length);
        while (received.length >= 16 && received[0] === 'l'.charCodeAt(0)) {
          const length = messageLength(received);
          if (received.length < length) return;
          const { serial, member } = decodeMessage(received.subarray(0, length));
          received = received.subarray(length);
          const reply =
            member === 'GetConnectionUnixProcessID'
              ? { signature, body: [pid] }
              : { signature: 's', body: [':1.1'] };
          socket.write(
            encodeMessage({ type: METHOD_RETURN, flags: 1, serial, replySerial: serial, ...reply }),
          );
        }
      });
    });
    server.listen(path);
    await once(server, 'listening');
    const client = await connect(`unix:path=${path}`);
    if (good) expect(await client.processId()).toBe(pid);
    else await expect(client.processId()).rejects.toThrow('no process id');
    await client.close();
    await new Promise((resolve) => server.close(resolve));
  });
});
