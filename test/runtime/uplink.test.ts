/** What users ask of an uplink while the store is slow and the machine goes on. */

import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest';
import { parseConfig, type UplinkConfig } from '../../src/config/config.ts';
import type { Slave, SwitchedSlave } from '../../src/kernel/slave-watch.ts';
import type { VsiRequest } from '../../src/model.ts';
import type { Surroundings } from '../../src/runtime/link-driver.ts';
import { toCommand, toStored } from '../../src/runtime/requests.ts';
import { Uplink } from '../../src/runtime/uplink.ts';
import type { Store, StoredVsi } from '../../src/store/store.ts';
import { eventually } from '../support/world.ts';

// Exponents of nothing: what nobody answers is given up within a millisecond.
const { uplinks, limits } = parseConfig(
  'uplinks: { eth1: { ecp: { max-retries: 0, rte: 0 }, vdp: { rwd: 0, rka: 0 } } }',
  'F',
);
const first: VsiRequest = { mac: '52:54:00:00:00:01', vlan: 10, manager: '1', type: 1, typeVersion: 1 };
const second: VsiRequest = { ...first, type: 2, timeout: 1 };

function stored(request: VsiRequest): StoredVsi {
  const wanted = toStored(toCommand(request, 'associate', [], 'first').command);
  return { wanted, inForce: wanted, owner: 'dbus', profile: '' };
}

/** A store in which a write may be held up; writes are done in the order in which they were asked for. */
class SlowStore {
  readonly vsi = new Map<string, StoredVsi>();
  /** How many of the next writes wait for release(). */
  held = 0;
  #last: Promise<void> = Promise.resolve();
  #release: () => void = () => {};
  #wrote: () => void = () => {};

  /** Which writes fail. */
  refuses: (value: StoredVsi | undefined) => boolean = () => false;

  putVsi(_link: string, key: string, value: StoredVsi): Promise<void> {
    if (this.refuses(value)) return Promise.reject(new Error('the disk is full'));
    return this.#write(() => this.vsi.set(key, value));
  }

  deleteVsi(_link: string, key: string): Promise<void> {
    if (this.refuses(undefined)) return Promise.reject(new Error('the disk is full'));
    return this.#write(() => this.vsi.delete(key));
  }

  peersPut = 0;
  switchedSlaves: readonly SwitchedSlave[] = [];

  async putPeer(): Promise<void> {
    this.peersPut++;
  }

  async peer(): Promise<undefined> {}

  async proven(): Promise<undefined> {}

  async putProven(): Promise<void> {}

  async switched(): Promise<readonly SwitchedSlave[]> {
    return this.switchedSlaves;
  }

  async putSwitched(_link: string, switched: readonly SwitchedSlave[]): Promise<void> {
    this.switchedSlaves = switched;
  }

  async vsis(): Promise<StoredVsi[]> {
    return [stored(first)];
  }

  release(): void {
    this.#release();
  }

  /** Resolves when something has asked for a write, from now on. */
  asked(): Promise<void> {
    return new Promise((resolve) => (this.#wrote = resolve));
  }

  #write(change: () => void): Promise<void> {
    this.#wrote();
    const before = this.#last;
    const gate = this.held-- > 0 ? new Promise<void>((resolve) => (this.#release = resolve)) : undefined;
    const done = Promise.all([before, gate]).then(change);
    this.#last = done;
    return done;
  }

  get settled(): Promise<void> {
    return this.#last;
  }
}

let store: SlowStore;
let uplink: Uplink;
/** Resolves with what is told of a VSI next. */
let told: () => Promise<string>;
let warned: string[];
let informed: string[];
/** How often it was told that the link has changed. */
let changes: number;
let around: Surroundings;

beforeEach(async () => {
  store = new SlowStore();
  let tell: (state: string) => void = () => {};
  told = () => new Promise((resolve) => (tell = resolve));
  const silent = () => {};
  warned = [];
  informed = [];
  changes = 0;
  around = {
    store: store as unknown as Store,
    rtnetlink: {} as Surroundings['rtnetlink'],
    leaks: {} as Surroundings['leaks'],
    linkOf: () => undefined,
    membersOf: () => [],
    log: {
      debug: silent,
      info: (_, text) => informed.push(text),
      warn: (_, text) => warned.push(text),
      error: silent,
    },
    linkChanged: () => changes++,
    vsiChanged: ({ state }) => tell(state),
    frame: silent,
    placeOf: async () => undefined,
    setSlaveMode: async () => {},
  };
  uplink = new Uplink('eth1', { config: uplinks['eth1']!, limits, profiles: [], rules: [] }, around);
  await uplink.recall();
});

afterEach(() => void vi.useRealTimers());

describe('while a wish is being written', () => {
  it('what the machine makes durable meanwhile does not bring back the old one', async () => {
    store.held = 1;
    const asked = uplink.request(second, 'associate');
    const overtaken = store.asked();
    // There is no link: the keepalive of what was in force is given up.
    uplink.update(undefined);
    await overtaken;
    store.release();
    await expect(asked).rejects.toMatchObject({ name: 'Timeout' });
    await store.settled;
    expect([...store.vsi.values()].map(({ wanted }) => wanted.type)).toEqual([2]);
  });

  it('what the machine makes durable meanwhile does not bring back what was given up', async () => {
    const { id } = uplink.vsis()[0]!;
    store.held = 1;
    const given = uplink.deassociate(id);
    const overtaken = store.asked();
    uplink.update(undefined);
    await overtaken;
    store.release();
    // As it is on the disk when the bridge is told, and a kill -9 may come.
    const atWord = told().then(() => [...store.vsi.keys()]);
    await given;
    expect(await atWord).toEqual([]);
  });
});

describe('a VSI that is given up twice', () => {
  it('is over for both', async () => {
    const { id } = uplink.vsis()[0]!;
    uplink.update(undefined);
    const both = [uplink.deassociate(id), uplink.deassociate(id)];
    await Promise.all(both);
    expect(uplink.vsis()).toEqual([]);
  });
});

describe('slaves of rules', () => {
  const { uplinks: auto, limits: bounds } = parseConfig(
    'uplinks: { eth1: { slaves: auto } }\nlimits: { slaves-per-uplink: 300, slaves-per-namespace: 10 }',
    'F',
  );
  const profile = { name: 'web', manager: new Uint8Array(16), type: 1, typeVersion: 1, vlan: 10 };
  const slave = (serial: number, more: Partial<Slave> = {}) =>
    ({
      serial,
      name: `mv${serial}`,
      index: 10 + serial,
      kind: 'macvlan',
      mode: 'vepa',
      vepa: true,
      up: true,
      mac: `52:54:00:00:${(serial >> 8).toString(16).padStart(2, '0')}:${(serial & 255).toString(16).padStart(2, '0')}`,
      vlans: [],
      uplink: 2,
      ...more,
    }) as Slave;
  const ruled = (config: UplinkConfig) => ({
    config,
    limits: bounds,
    profiles: [profile],
    rules: [{ number: 1, profile }],
  });
  const settled = async () => {
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  };
  const macs = () => uplink.vsis().flatMap(({ filters }) => filters.map(({ mac }) => mac));
  const slaves = () => uplink.status().slaves.map(({ vsi, reason }) => [vsi !== '', reason]);

  let busy: MockInstance<typeof process.cpuUsage>;

  beforeEach(() => {
    // Rounds take no time, and need no rest.
    busy = vi.spyOn(process, 'cpuUsage').mockReturnValue({ user: 0, system: 0 });
    uplink = new Uplink('eth1', ruled(auto['eth1']!), around);
  });

  afterEach(() => busy.mockRestore());

  it('one that the store does not take leaves the others as they are to be, and is tried again', async () => {
    const [one, two, three] = [slave(1), slave(2), slave(3)];
    store.refuses = (value) => value?.wanted.filters[0]?.mac === two.mac;
    uplink.setSlaves([one, two, three], true);
    await settled();
    expect(macs()).toEqual([one.mac, three.mac]);
    expect(slaves()).toEqual([
      [true, ''],
      [false, 'the disk is full'],
      [true, ''],
    ]);
    store.refuses = () => false;
    uplink.setSlaves([one, two, { ...three, name: 'other' }], true);
    await settled();
    expect(macs().sort()).toEqual([one.mac, two.mac, three.mac]);
    // Nor does one whose end it does not take hold up those that come.
    store.refuses = (value) => value === undefined;
    uplink.setSlaves([two, three, slave(4)], true);
    await settled();
    expect(macs().sort()).toEqual([one.mac, two.mac, three.mac, slave(4).mac]);
    store.refuses = () => false;
    uplink.setSlaves([two, three], true);
    await settled();
    expect(macs().sort()).toEqual([two.mac, three.mac]);
    await uplink.stop();
  });

  it('a failed write is tried again without any event', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    store.refuses = () => true;
    uplink.setSlaves([slave(1)], true);
    await settled();
    expect(macs()).toEqual([]);
    store.refuses = () => false;
    await vi.runOnlyPendingTimersAsync();
    await settled();
    expect(macs()).toEqual([slave(1).mac]);
    await uplink.stop();
  });

  it('a release that cannot set them back says so, and again, until it can', async () => {
    const mode = (is: string) => [slave(2, { mode: is, vepa: is === 'vepa' })];
    store.switchedSlaves = [{ name: 'mv2', index: 12, mac: slave(2).mac! }];
    uplink = new Uplink('eth1', ruled({ ...auto['eth1']!, 'when-relay-refused': 'bridge' }), around);
    around.setSlaveMode = () => Promise.reject(new Error('no CAP_SYS_ADMIN'));
    await uplink.recall();
    uplink.takeUp();
    uplink.setSlaves(mode('bridge'), true);
    await settled();
    expect(slaves()).toEqual([[true, 'set to bridge mode until relay is active']]);
    for (let i = 1; i <= 2; i++) {
      await expect(uplink.release()).rejects.toThrow('no CAP_SYS_ADMIN');
      expect([uplink.released, store.peersPut >= i, store.switchedSlaves.length]).toEqual([true, true, 1]);
    }
    around.setSlaveMode = async () => uplink.setSlaves(mode('vepa'), true);
    await uplink.release();
    expect([uplink.released, store.switchedSlaves]).toEqual([true, []]);
    await uplink.stop();
  });

  it('stop waits for the round under way and for no other; nothing is told or done after it', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    store.held = 1;
    store.refuses = (value) => value?.wanted.filters[0]?.mac === slave(2).mac;
    uplink.setSlaves([slave(1), slave(2)], true);
    await store.asked();
    const before = [changes, informed.length];
    uplink.setSlaves([slave(3)], true);
    const stopped = uplink.stop();
    uplink.setSlaves([slave(4)], true);
    store.release();
    await stopped;
    store.refuses = () => false;
    await vi.advanceTimersByTimeAsync(60_000);
    expect([...store.vsi.values()].map(({ wanted }) => wanted.filters[0]!.mac)).toEqual([slave(1).mac]);
    expect([changes - before[0]!, informed.slice(before[1])]).toEqual([1, []]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('very many are counted, the first are listed, and the log says once that there are too many', async () => {
    const mine = Array.from({ length: 280 }, (_, n) => slave(n));
    const theirs = Array.from({ length: 30 }, (_, n) => slave(300 + n, { namespaceId: 4 }));
    uplink.setSlaves([...mine, ...theirs], true);
    await settled();
    uplink.setSlaves([...mine, ...theirs.slice(1)], true);
    await settled();
    const { slaves: listed, counters } = uplink.status();
    expect(listed).toHaveLength(256);
    expect(counters).toMatchObject({ slaves: 309, slavesBeyondLimits: 19, vsis: 290 });
    expect(warned.filter((text) => text.includes('slaves-per-namespace'))).toEqual([
      expect.stringMatching(/^20 slaves are beyond the limits/),
    ]);
    await uplink.stop();
  });

  it('after a round comes a rest, longer than the CPU was busy; it holds up no end', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    busy.mockReturnValue({ user: 8_000, system: 2_000 });
    try {
      uplink.setSlaves([slave(1)], true);
      await settled();
      uplink.setSlaves([slave(2)], true);
      await vi.advanceTimersByTimeAsync(89);
      await settled();
      expect(macs()).toEqual([slave(1).mac]);
      await vi.advanceTimersByTimeAsync(1);
      await settled();
      expect(macs()).toContain(slave(2).mac);
      // However long: a guest is not kept waiting for more than five seconds.
      busy.mockReturnValue({ user: 8_000_000, system: 0 });
      await vi.advanceTimersByTimeAsync(90);
      uplink.setSlaves([slave(3)], true);
      await settled();
      uplink.setSlaves([slave(4)], true);
      await vi.advanceTimersByTimeAsync(4_999);
      await settled();
      expect(macs()).not.toContain(slave(4).mac);
      await vi.advanceTimersByTimeAsync(1);
      await settled();
      expect(macs()).toContain(slave(4).mac);
      uplink.setSlaves([slave(5)], true);
      await uplink.stop();
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it('the uplink gets the MAC of a slave, or another: the rules are looked at again', async () => {
    const link = (mac: string) => ({ index: 2, name: 'eth1', up: false, lowerUp: false, mac }) as never;
    uplink.update(link('52:54:00:00:00:ff'));
    uplink.setSlaves([slave(1)], true);
    await settled();
    expect(slaves()).toEqual([[true, expect.anything()]]);
    uplink.update(link(slave(1).mac!));
    await eventually(slaves, ([first]) => /MAC address of the uplink/.test(`${first?.[1]}`), 'refused');
    uplink.update(link('52:54:00:00:00:fe'));
    await eventually(slaves, ([first]) => first?.[0] === true, 'associated');
    await uplink.stop();
  });

  it('without end of changes there are so many rounds, of which the last is for the newest slaves', async () => {
    let written = 0;
    const { putVsi } = store;
    store.putVsi = (...args) => {
      written++;
      return putVsi.apply(store, args);
    };
    const stopped = vi.spyOn(performance, 'now').mockReturnValue(performance.now());
    for (let n = 0; n < 500; n++) {
      uplink.setSlaves([slave(1, { mac: slave(n).mac! })], true);
      await new Promise(setImmediate);
    }
    expect(written).toBeGreaterThan(0);
    expect(written).toBeLessThanOrEqual(20);
    stopped.mockRestore();
    await eventually(macs, (is) => is[0] === slave(499).mac, 'the newest');
    await uplink.stop();
  });
});
