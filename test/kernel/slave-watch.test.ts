/** What a container can bring about, and what remains when events were lost; with a kernel that is not. */

import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { MacAddress } from '../../protocols/octets/index.ts';
import type { Link } from '../../protocols/rtnetlink/index.ts';
import type { LinkWatch } from '../../src/kernel/link-watch.ts';
import type { Rtnetlink } from '../../src/kernel/rtnetlink.ts';
import { SlaveWatch } from '../../src/kernel/slave-watch.ts';

const SELF = 0;
const UPLINK = 2;
const slave = (index: number, mac: string, linkNamespaceId = SELF) =>
  ({
    index,
    name: `mv${index}`,
    mac: mac as MacAddress,
    kind: 'macvlan',
    macvlanMode: 'vepa',
    parent: UPLINK,
    linkNamespaceId,
  }) as Link;

class Kernel {
  readonly namespaces = new Map<number, Link[]>();
  readonly events = new EventEmitter();
  readonly watch: SlaveWatch;
  readonly asked: string[] = [];
  /** Answers that wait to be let go; undefined: none has to. */
  held: (() => void)[] | undefined;

  constructor() {
    const answer = async <T>(value: T) => {
      if (this.held !== undefined) await new Promise<void>((resolve) => this.held!.push(resolve));
      return value;
    };
    const rtnetlink = {
      link: (index: number, id: number) => {
        this.asked.push(`link ${index}`);
        return answer(this.namespaces.get(id)?.find((one) => one.index === index));
      },
      links: async (id?: number) => (id === undefined ? [] : answer(this.namespaces.get(id) ?? [])),
      namespaces: async () => {
        this.asked.push('namespaces');
        return [SELF, ...this.namespaces.keys()];
      },
      namespaceId: async () => SELF,
    } as unknown as Rtnetlink;
    const uplink = { index: UPLINK, name: 'eth1' } as Link;
    const links = Object.assign(this.events, {
      self: SELF,
      links: [uplink],
      get: (which: number) => (which === UPLINK ? uplink : undefined),
    }) as unknown as LinkWatch;
    this.watch = new SlaveWatch(rtnetlink, links);
  }

  get slaves() {
    return this.watch.slavesOf(UPLINK).map(({ mac, namespaceId }) => `${namespaceId} ${mac}`);
  }

  count(what: string) {
    return this.asked.filter((asked) => asked === what).length;
  }

  hears(namespaceId: number, link: Link, deleted = false, newNamespaceId?: number) {
    this.events.emit('foreign', namespaceId, { deleted, family: 'link', link, newNamespaceId });
  }
}

const turns = async (count = 50) => {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
};

describe('slave watch', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    // A search takes ten milliseconds.
    vi.spyOn(process, 'cpuUsage').mockReturnValue({ user: 8_000, system: 2_000 });
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  it('what changed or went elsewhere while events were lost is as the kernel says', async () => {
    const kernel = new Kernel();
    kernel.namespaces.set(1, [slave(5, '52:54:00:00:00:01'), slave(6, '52:54:00:00:00:02')]);
    kernel.namespaces.set(2, [slave(5, '52:54:00:00:00:03')]);
    kernel.namespaces.set(3, [slave(5, '52:54:00:00:00:04')]);
    await kernel.watch.start();
    expect(kernel.slaves).toHaveLength(4);
    kernel.namespaces.set(1, [slave(5, '52:54:00:00:00:11')]);
    kernel.namespaces.delete(2);
    // The same index, and another lower device.
    kernel.namespaces.set(3, [slave(5, '52:54:00:00:00:04', 7)]);
    kernel.events.emit('resynced');
    await vi.runAllTimersAsync();
    await turns();
    expect(kernel.slaves).toEqual(['1 52:54:00:00:00:11']);
    kernel.watch.close();
  });

  it('very many interfaces at once are looked up together', async () => {
    const kernel = new Kernel();
    await kernel.watch.start();
    await vi.runAllTimersAsync();
    const many = Array.from({ length: 1_000 }, (_, n) =>
      slave(
        n + 5,
        `52:54:00:00:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}`,
      ),
    );
    kernel.namespaces.set(1, many);
    for (const one of many) kernel.hears(1, one);
    expect(kernel.asked.filter((what) => what.startsWith('link'))).toHaveLength(64);
    await vi.runAllTimersAsync();
    await turns();
    expect(kernel.slaves).toHaveLength(1_000);
    kernel.watch.close();
  });

  it('more that leaves than is remembered while a question is open: its answer does not count', async () => {
    const kernel = new Kernel();
    await kernel.watch.start();
    await vi.runAllTimersAsync();
    const first = slave(5, '52:54:00:00:00:01');
    kernel.namespaces.set(1, [first]);
    kernel.held = [];
    kernel.hears(1, first);
    await turns();
    kernel.namespaces.set(1, []);
    for (let index = 5; index < 10_000; index++) kernel.hears(1, slave(index, '52:54:00:00:00:01', 7), true);
    const answers = kernel.held;
    kernel.held = undefined;
    for (const answer of answers) answer();
    await vi.runAllTimersAsync();
    await turns();
    expect(kernel.slaves).toEqual([]);
    expect(kernel.count('namespaces')).toBeGreaterThan(1);
    kernel.watch.close();
  });

  it('what is heard while a namespace is read anew is newer', async () => {
    const kernel = new Kernel();
    kernel.namespaces.set(1, [slave(5, '52:54:00:00:00:01'), slave(6, '52:54:00:00:00:02')]);
    await kernel.watch.start();
    await vi.runAllTimersAsync();
    // Read without the one and before the change of the other.
    kernel.namespaces.set(1, [slave(6, '52:54:00:00:00:02')]);
    kernel.held = [];
    kernel.events.emit('resynced');
    await turns();
    kernel.hears(1, slave(5, '52:54:00:00:00:11'));
    kernel.hears(1, slave(6, '52:54:00:00:00:12'));
    kernel.held.shift()!();
    await turns();
    expect(kernel.slaves).toEqual(['1 52:54:00:00:00:11', '1 52:54:00:00:00:12']);
    kernel.watch.close();
  });

  it('what left while it was looked up does not come back with the answer', async () => {
    const kernel = new Kernel();
    const [one, two, three] = [1, 2, 3].map((n) => slave(5, `52:54:00:00:00:0${n}`));
    for (const [id, link] of [one, two].entries()) kernel.namespaces.set(id + 1, [link!]);
    kernel.namespaces.set(3, []);
    await kernel.watch.start();
    await vi.runAllTimersAsync();
    expect(kernel.slaves).toHaveLength(2);
    kernel.held = [];
    const answers = async () => {
      await turns();
      while (kernel.held!.length > 0) {
        kernel.held!.shift()!();
        await turns();
      }
    };
    kernel.events.emit('unchanged', { index: UPLINK, name: 'eth1' });
    await turns();
    kernel.hears(1, one!, true);
    await answers();
    expect(kernel.slaves).toEqual(['2 52:54:00:00:00:02']);
    kernel.namespaces.set(1, []);
    await vi.runAllTimersAsync();
    kernel.events.emit('namespace', { deleted: false, namespaceId: 2 });
    await turns();
    kernel.events.emit('namespace', { deleted: true, namespaceId: 2 });
    await answers();
    expect(kernel.slaves).toEqual([]);
    kernel.namespaces.set(3, [three!]);
    kernel.hears(3, three!);
    await turns();
    kernel.hears(3, three!, true);
    await answers();
    expect(kernel.slaves).toEqual([]);
    kernel.hears(3, three!);
    await answers();
    expect(kernel.slaves).toEqual(['3 52:54:00:00:00:03']);
    kernel.watch.close();
  });

  it('where a slave was first seen is known wherever it goes, and not taken for the next with that id', async () => {
    const kernel = new Kernel();
    const origins = () => kernel.watch.slavesOf(UPLINK).map(({ index, origin }) => [index, origin]);
    kernel.namespaces.set(1, [slave(5, '52:54:00:00:00:01')]);
    await kernel.watch.start();
    expect(origins()).toEqual([[5, 1]]);
    const here = { ...slave(7, '52:54:00:00:00:01'), linkNamespaceId: undefined } as unknown as Link;
    kernel.namespaces.set(1, []);
    kernel.hears(1, slave(5, '52:54:00:00:00:01'), true, 0);
    kernel.events.emit('added', here);
    kernel.events.emit('added', { ...here, index: 8, mac: '52:54:00:00:00:08' as MacAddress });
    expect(origins()).toEqual([
      [7, 1],
      [8, undefined],
    ]);
    kernel.events.emit('removed', { ...here, index: 8 }, { namespaceId: 1, index: 9 });
    expect(origins()).toEqual([
      [7, 1],
      [9, undefined],
    ]);
    kernel.namespaces.delete(1);
    kernel.events.emit('namespace', { deleted: true, namespaceId: 1 });
    expect(origins()).toEqual([[7, -1]]);
    kernel.watch.close();
  });

  it('what changes without end is told with rests, the newest at the end', async () => {
    const kernel = new Kernel();
    kernel.namespaces.set(1, [slave(5, '52:54:00:00:00:01')]);
    await kernel.watch.start();
    await vi.advanceTimersByTimeAsync(1_000);
    const told: string[] = [];
    kernel.watch.on('changed', () => told.push(...kernel.slaves));
    for (let n = 10; n < 20; n++) {
      kernel.hears(1, slave(5, `52:54:00:00:00:${n}`));
      await turns(3);
    }
    expect(told).toEqual(['1 52:54:00:00:00:10']);
    await vi.advanceTimersByTimeAsync(89);
    expect(told).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(told.slice(1)).toEqual(['1 52:54:00:00:00:19']);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(told).toHaveLength(2);
    kernel.hears(1, slave(5, '52:54:00:00:00:20'));
    await turns(3);
    expect(told).toHaveLength(3);
    kernel.watch.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('an uplink that is told of without a difference is a reason to search; what cannot be one is none', async () => {
    const kernel = new Kernel();
    await kernel.watch.start();
    await vi.runAllTimersAsync();
    const before = kernel.count('namespaces');
    kernel.events.emit('unchanged', slave(5, '52:54:00:00:00:01'));
    kernel.events.emit('unchanged', { index: 9, name: 'veth9', master: 8 });
    await vi.runAllTimersAsync();
    await turns();
    expect(kernel.count('namespaces')).toBe(before);
    const mine = slave(5, '52:54:00:00:00:01');
    kernel.namespaces.set(1, [mine]);
    kernel.events.emit('unchanged', { index: UPLINK, name: 'eth1' });
    await turns();
    expect(kernel.count('namespaces')).toBe(before + 1);
    expect(kernel.slaves).toEqual(['1 52:54:00:00:00:01']);
    kernel.watch.close();
  });

  it('a stream of events of a slave that is none of ours asks one question at a time', async () => {
    const kernel = new Kernel();
    kernel.namespaces.set(1, []);
    await kernel.watch.start();
    const theirs = slave(5, '52:54:00:00:00:01', 7);
    kernel.namespaces.set(1, [theirs]);
    kernel.held = [];
    for (let i = 0; i < 1000; i++) kernel.hears(1, theirs);
    expect(kernel.count('link 5')).toBe(1);
    kernel.held.shift()!();
    await turns();
    // What came meanwhile is one more.
    expect(kernel.count('link 5')).toBe(2);
    kernel.held.shift()!();
    await turns();
    kernel.hears(1, theirs);
    expect(kernel.count('link 5')).toBe(3);
    kernel.watch.close();
  });

  it('a slave that moves to and fro without end is searched for a tenth of the time', async () => {
    const kernel = new Kernel();
    const mine = slave(5, '52:54:00:00:00:01');
    kernel.namespaces.set(1, [mine]);
    await kernel.watch.start();
    const move = async () => {
      kernel.hears(1, mine, true, 2);
      await turns();
      kernel.hears(1, mine);
      await turns();
    };
    const before = kernel.count('namespaces');
    for (let i = 0; i < 10; i++) await move();
    expect(kernel.count('namespaces')).toBe(before);
    await vi.advanceTimersByTimeAsync(90);
    await turns();
    expect(kernel.count('namespaces')).toBe(before + 1);
    for (let i = 0; i < 10; i++) await move();
    expect(kernel.count('namespaces')).toBe(before + 1);
    expect(kernel.slaves).toEqual(['1 52:54:00:00:00:01']);
    kernel.watch.close();
  });
});
