/** What users ask of an uplink while the store is slow and the machine goes on. */

import { beforeEach, describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/config.ts';
import type { VsiRequest } from '../../src/model.ts';
import type { Surroundings } from '../../src/runtime/link-driver.ts';
import { toCommand, toStored } from '../../src/runtime/requests.ts';
import { Uplink } from '../../src/runtime/uplink.ts';
import type { Store, StoredVsi } from '../../src/store/store.ts';

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

  putVsi(_link: string, key: string, value: StoredVsi): Promise<void> {
    return this.#write(() => this.vsi.set(key, value));
  }

  deleteVsi(_link: string, key: string): Promise<void> {
    return this.#write(() => this.vsi.delete(key));
  }

  async putPeer(): Promise<void> {}

  async peer(): Promise<undefined> {}

  async switched(): Promise<[]> {
    return [];
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

beforeEach(async () => {
  store = new SlowStore();
  let tell: (state: string) => void = () => {};
  told = () => new Promise((resolve) => (tell = resolve));
  const silent = () => {};
  const around: Surroundings = {
    store: store as unknown as Store,
    rtnetlink: {} as Surroundings['rtnetlink'],
    leaks: {} as Surroundings['leaks'],
    log: { debug: silent, info: silent, warn: silent, error: silent },
    linkChanged: silent,
    vsiChanged: ({ state }) => tell(state),
    frame: silent,
    placeOf: async () => undefined,
    setSlaveMode: async () => {},
  };
  uplink = new Uplink('eth1', { config: uplinks['eth1']!, limits, profiles: [], rules: [] }, around);
  await uplink.recall();
});

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
