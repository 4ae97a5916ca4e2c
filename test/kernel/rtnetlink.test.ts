/** Rtnetlink and LinkWatch against a kernel that misbehaves: a socket that answers what the test says. */

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  decodeMessages,
  encodeMessage,
  HostWriter,
  IFLA_IFNAME,
  type NetlinkMessage,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  RTM_DELLINK,
  RTM_NEWLINK,
} from '../../protocols/rtnetlink/index.ts';
import { LinkWatch } from '../../src/kernel/link-watch.ts';
import { Rtnetlink } from '../../src/kernel/rtnetlink.ts';
import type { NetlinkSocketOptions, SocketError } from '../../src/raw-socket/index.ts';

interface FakeSocket {
  options: NetlinkSocketOptions;
  sent: NetlinkMessage[];
  closed: boolean;
  /** Thrown by the next send. */
  failure?: Error;
}

const sockets: FakeSocket[] = vi.hoisted(() => []);

vi.mock('../../src/raw-socket/index.ts', () => ({
  NetlinkSocket: class {
    readonly fake: FakeSocket;
    constructor(options: NetlinkSocketOptions) {
      this.fake = { options, sent: [], closed: false };
      sockets.push(this.fake);
    }
    send(octets: Uint8Array) {
      if (this.fake.failure) throw this.fake.failure;
      this.fake.sent.push(...decodeMessages(octets));
    }
    unref() {
      return this;
    }
    close() {
      this.fake.closed = true;
    }
  },
}));

const message = (type: number, flags: number, sequence: number, payload: Uint8Array) =>
  encodeMessage({ type, flags, sequence, portId: 0 }, payload);
const done = (sequence: number, flags = 0) =>
  message(NLMSG_DONE, flags, sequence, new HostWriter().s32(0).finish());
const errorOf = (sequence: number, errno: number) =>
  message(NLMSG_ERROR, 0x100, sequence, new HostWriter().s32(-errno).octets(new Uint8Array(16)).finish());
const link = (index: number, name: string, { type = RTM_NEWLINK, sequence = 0, flags = 0 } = {}) =>
  message(
    type,
    flags,
    sequence,
    new HostWriter().u32(0).s32(index).u32(0).u32(0).text(IFLA_IFNAME, name).finish(),
  );
const socketError = (code: string) =>
  Object.assign(new Error(`recvmsg: ${code}`), { code, syscall: 'recvmsg', errno: -1 });

/** Lets promises and the event loop go on. */
const turns = async () => {
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
};

beforeEach(() => {
  sockets.length = 0;
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});
afterEach(() => vi.useRealTimers());

function rtnetlink(deadline?: number) {
  const requests = new Rtnetlink(deadline === undefined ? {} : { deadline });
  const socket = sockets.at(-1)!;
  const receive = (...datagrams: Uint8Array[]) =>
    socket.options.onMessages(datagrams.map((octets) => ({ octets, portId: 0 })));
  return { requests, socket, receive };
}

describe('requests', () => {
  it('are answered by sequence number, in whatever order', async () => {
    const { requests, socket, receive } = rtnetlink();
    const [one, two] = [requests.link(1), requests.link(2)];
    const [first, second] = socket.sent.map(({ sequence }) => sequence) as [number, number];
    receive(link(2, 'two', { sequence: second }), errorOf(second, 0));
    receive(errorOf(first, 19), errorOf(first, 0));
    expect((await two)!.name).toBe('two');
    expect(await one).toBeUndefined();
  });

  it('repeat a dump that was interrupted, and give up in the end', async () => {
    const { requests, socket, receive } = rtnetlink();
    const links = requests.links();
    receive(link(1, 'old', { sequence: 1, flags: NLM_F_DUMP_INTR }), done(1));
    await turns();
    receive(link(1, 'lo', { sequence: 2 }), done(2, NLM_F_DUMP_INTR));
    await turns();
    receive(link(1, 'lo', { sequence: 3 }), done(3));
    expect((await links).map(({ name }) => name)).toEqual(['lo']);

    const never = requests.links();
    never.catch(() => {});
    for (let tries = 0; tries < 20; tries++) {
      receive(done(socket.sent.at(-1)!.sequence, NLM_F_DUMP_INTR));
      await turns();
    }
    await expect(never).rejects.toMatchObject({
      code: 'EINTR',
      message: /cannot list the network interfaces: they changed/,
    });
  });

  it('send one dump at a time and never more at once than answers fit', async () => {
    const { requests, socket, receive } = rtnetlink();
    const all = Array.from({ length: 100 }, (_, i) => requests.link(i + 1));
    const dumps = [requests.links(), requests.links()];
    expect(socket.sent).toHaveLength(64);
    while (socket.sent.length < 100) receive(errorOf(socket.sent.length - 63, 0));
    expect(socket.sent.every(({ flags }) => (flags & NLM_F_DUMP) === 0)).toBe(true);
    receive(...socket.sent.map(({ sequence }) => errorOf(sequence, 0)));
    await Promise.all(all);
    expect(socket.sent).toHaveLength(101);
    receive(done(101));
    expect(socket.sent).toHaveLength(102);
    receive(done(102));
    expect(await Promise.all(dumps)).toEqual([[], []]);
  });

  it('fail after their deadline, and a late answer does no harm', async () => {
    const { requests, socket, receive } = rtnetlink(2000);
    const late = expect(requests.link(1)).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      message: 'cannot look up interface 1: no answer from the kernel for 2000 ms (ETIMEDOUT)',
    });
    await vi.advanceTimersByTimeAsync(2000);
    await late;
    receive(link(1, 'lo', { sequence: 1 }), errorOf(1, 0));
    const again = requests.link(1);
    receive(
      link(1, 'lo', { sequence: socket.sent.at(-1)!.sequence }),
      errorOf(socket.sent.at(-1)!.sequence, 0),
    );
    expect((await again)!.name).toBe('lo');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('believe the kernel only', async () => {
    const { requests, socket, receive } = rtnetlink();
    const found = requests.link(1);
    socket.options.onMessages([{ octets: errorOf(1, 1), portId: 4711 }]);
    receive(link(1, 'lo', { sequence: 1 }), errorOf(1, 0));
    expect((await found)!.name).toBe('lo');
  });

  it('fail with what the socket says', async () => {
    const { requests, socket, receive } = rtnetlink();
    const lost = expect(requests.link(1)).rejects.toMatchObject({ name: 'KernelError', code: 'ENOBUFS' });
    socket.options.onError(socketError('ENOBUFS') as SocketError);
    await lost;
    const unreadable = expect(requests.link(1)).rejects.toMatchObject({ code: 'EBADMSG' });
    receive(Uint8Array.of(1, 2, 3));
    await unreadable;
    const damaged = expect(requests.link(1)).rejects.toMatchObject({ code: 'EBADMSG' });
    receive(message(RTM_NEWLINK, 0, 3, new Uint8Array(3)), errorOf(3, 0));
    await damaged;
    socket.failure = socketError('ENOBUFS');
    await expect(requests.link(1)).rejects.toMatchObject({ code: 'ENOBUFS' });
  });

  it('are called off by close, those that wait too', async () => {
    const { requests, socket } = rtnetlink();
    const all = Array.from({ length: 70 }, (_, i) => requests.link(i + 1));
    const settled = Promise.allSettled(all);
    requests.close();
    requests.close();
    for (const outcome of await settled) expect(outcome).toMatchObject({ reason: { code: 'ECANCELED' } });
    await expect(requests.links()).rejects.toMatchObject({ code: 'ECANCELED' });
    expect(socket.closed).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('the watch', () => {
  function watch() {
    const { requests, socket, receive } = rtnetlink();
    const links = new LinkWatch(requests);
    const told: string[] = [];
    links.on('added', ({ name }) => told.push(`added ${name}`));
    links.on('changed', ({ name }) => told.push(`changed ${name}`));
    links.on('removed', ({ name }) => told.push(`removed ${name}`));
    links.on('resynced', () => told.push('resynced'));
    links.on('error', ({ code }) => told.push(code));
    const { options } = sockets.at(-1)!;
    const happen = (...datagrams: Uint8Array[]) =>
      options.onMessages(datagrams.map((octets) => ({ octets, portId: 0 })));
    /** Answers the dump that is under way. */
    const table = (...names: string[]) => {
      const { sequence } = socket.sent.at(-1)!;
      receive(...names.map((name, i) => link(i + 1, name, { sequence })), done(sequence));
      return turns();
    };
    const lose = (code = 'ENOBUFS') => options.onError(socketError(code) as SocketError);
    return { links, told, happen, table, lose, socket, receive };
  }

  it('holds events back until the table is there, and tells only how they end', async () => {
    const { links, told, happen, table } = watch();
    const started = links.start();
    happen(link(2, 'a'), link(2, 'b'), link(3, 'gone'), link(3, 'gone', { type: RTM_DELLINK }));
    await table('lo', 'b');
    await started;
    expect(told).toEqual(['added lo', 'added b']);
    happen(
      link(3, 'c'),
      link(3, 'c'),
      link(3, 'c', { type: RTM_DELLINK }),
      link(3, 'c', { type: RTM_DELLINK }),
    );
    expect(told.slice(2)).toEqual(['added c', 'removed c']);
  });

  it('reads the table again when events are lost, also while it reads', async () => {
    const { links, told, table, lose, happen, socket } = watch();
    const started = links.start();
    await table('lo', 'a', 'b');
    await started;
    told.length = 0;
    lose();
    lose();
    await table('lo', 'a', 'stale');
    expect(socket.sent).toHaveLength(3);
    expect(told).toEqual([]);
    happen(link(7, 'late'));
    await table('lo', 'b');
    expect(told).toEqual(['removed b', 'changed b', 'added late', 'resynced']);
    expect([links.get('a'), links.get('b')!.index, links.get(7)!.name]).toEqual([undefined, 2, 'late']);
  });

  it('tries again later when the table cannot be read', async () => {
    const { links, told, table, lose, socket } = watch();
    const started = links.start();
    await table('lo');
    await started;
    lose('ENOMEM');
    expect(told.slice(1)).toEqual(['ENOMEM']);
    socket.options.onError(socketError('EIO') as SocketError);
    await turns();
    expect(told.slice(1)).toEqual(['ENOMEM', 'EIO']);
    await vi.advanceTimersByTimeAsync(1000);
    await table('lo', 'new');
    expect(told.slice(3)).toEqual(['added new', 'resynced']);
  });

  it('survives an event that cannot be read', async () => {
    const { links, told, table, happen } = watch();
    const started = links.start();
    await table('lo');
    await started;
    happen(Uint8Array.of(9), link(2, 'held'));
    await table('lo', 'held');
    expect(told.slice(1)).toEqual(['EBADMSG', 'added held', 'resynced']);
  });

  it('that cannot begin says so', async () => {
    const { links, socket } = watch();
    const started = expect(links.start()).rejects.toMatchObject({ code: 'EIO' });
    socket.options.onError(socketError('EIO') as SocketError);
    await started;
    links.close();
    expect(vi.getTimerCount()).toBe(0);
  });
});
