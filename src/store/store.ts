import { ClassicLevel } from 'classic-level';
import type { BridgePortJournal } from '../kernel/bridge-port.ts';
import type { SwitchedSlave } from '../kernel/slave-watch.ts';

/** A VSI command as JSON: octets in hex. */
export interface StoredCommand {
  request: 'preassociate' | 'reserve' | 'associate' | 'deassociate';
  manager: string;
  type: number;
  typeVersion: number;
  idFormat: number;
  id: string;
  filters: { mac?: string; vid: number; pcp?: number; group?: number }[];
  hint: 'none' | 'from' | 'to';
}

/** What a user asked for on an uplink; `inForce` once the bridge has confirmed it. */
export interface StoredVsi {
  wanted: StoredCommand;
  inForce?: StoredCommand;
  owner: string;
  profile: string;
}

/** The EVB peer as last heard: replayed by the next start while its TTL runs. */
export interface StoredPeer {
  /** Hex. */
  lldpdu: string;
  source: string;
  /** Milliseconds since the epoch. */
  expires: number;
}

/** Whose place that of the EVB peer is (src/port/peer-choice.ts). */
export interface StoredProven {
  key: string;
  source: string;
  acknowledges: boolean;
  /** Milliseconds since the epoch. */
  until: number;
}

type Operation = { type: 'put'; key: string; value: unknown } | { type: 'del'; key: string };

/** One line for the user: which folder, why, and what mends it. */
export class StoreError extends Error {}

/**
 * What must outlive the process, in a LevelDB: VSIs wanted on uplinks, VSIs in force at ports, changes of the kernel with their
 * undo, and the peer of each link. Keys are KIND/LINK/REST. Methods reject with StoreError.
 */
export class Store {
  readonly #level: ClassicLevel<string, unknown>;
  readonly #folder: string;
  #waiting: { operation: Operation; sync: boolean; resolve(): void; reject(error: Error): void }[] = [];
  #writing: Promise<void> | undefined;

  private constructor(level: ClassicLevel<string, unknown>, folder: string) {
    this.#level = level;
    this.#folder = folder;
  }

  static async open(folder: string): Promise<Store> {
    const level = new ClassicLevel<string, unknown>(folder, { valueEncoding: 'json' });
    try {
      await level.open();
    } catch (error) {
      throw new StoreError(`cannot open the state in ${folder}: ${openProblem(error)}`);
    }
    return new Store(level, folder);
  }

  /** Resolves when all that was written until now is done. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  async close(): Promise<void> {
    await this.settled();
    await this.#level.close();
  }

  /** Synced: it is on the disk when this resolves. */
  putVsi(link: string, key: string, vsi: StoredVsi): Promise<void> {
    return this.#put(`vsi/${link}/${key}`, vsi, true);
  }

  deleteVsi(link: string, key: string): Promise<void> {
    return this.#delete(`vsi/${link}/${key}`);
  }

  vsis(link: string): Promise<StoredVsi[]> {
    return this.#values<StoredVsi>(`vsi/${link}/`);
  }

  putInForce(port: string, key: string, command: StoredCommand): Promise<void> {
    return this.#put(`port-vsi/${port}/${key}`, command, true);
  }

  deleteInForce(port: string, key: string): Promise<void> {
    return this.#delete(`port-vsi/${port}/${key}`);
  }

  inForce(port: string): Promise<StoredCommand[]> {
    return this.#values<StoredCommand>(`port-vsi/${port}/`);
  }

  /** Synced before the kernel is changed; null when nothing is left to undo. */
  putJournal(port: string, journal: BridgePortJournal | null): Promise<void> {
    return journal === null ? this.#delete(`journal/${port}/`) : this.#put(`journal/${port}/`, journal, true);
  }

  journal(port: string): Promise<BridgePortJournal | undefined> {
    return this.#get<BridgePortJournal>(`journal/${port}/`);
  }

  /** Slaves in bridge mode by us; synced before the kernel is changed. */
  putSwitched(uplink: string, switched: readonly SwitchedSlave[]): Promise<void> {
    const key = `switched/${uplink}/`;
    return switched.length === 0 ? this.#delete(key) : this.#put(key, switched, true);
  }

  async switched(uplink: string): Promise<SwitchedSlave[]> {
    return (await this.#get<SwitchedSlave[]>(`switched/${uplink}/`)) ?? [];
  }

  /** Uplinks with slaves that are in bridge mode by us. */
  async switchedUplinks(): Promise<string[]> {
    const range = { gte: 'switched/', lt: 'switched/\uffff' };
    return (await this.#guard(this.#level.keys(range).all())).map((key) => key.split('/')[1]!);
  }

  /** Indexes of the ports whose leak is stopped by us; synced before nftables is changed. */
  putLeakJournal(ports: readonly number[]): Promise<void> {
    return ports.length === 0 ? this.#delete('leak') : this.#put('leak', ports, true);
  }

  async leakJournal(): Promise<number[]> {
    return (await this.#get<number[]>('leak')) ?? [];
  }

  /** Forgets the undo journals of another boot: what they would undo is gone with it. `bootId` names the running one. */
  async sinceBoot(bootId: string): Promise<void> {
    if ((await this.#get<string>('boot')) === bootId) return;
    for (const { name } of await this.journals()) await this.putJournal(name, null);
    for (const uplink of await this.switchedUplinks()) await this.putSwitched(uplink, []);
    await this.putLeakJournal([]);
    await this.#put('boot', bootId, true);
  }

  /** Forgets the VSIs of all other links; how many of which. */
  async forgetVsisExcept(links: readonly string[]): Promise<Map<string, number>> {
    const forgotten = new Map<string, number>();
    for (const kind of ['vsi', 'port-vsi']) {
      const range = { gte: `${kind}/`, lt: `${kind}/\uffff` };
      for (const key of await this.#guard(this.#level.keys(range).all())) {
        const link = key.split('/')[1]!;
        if (links.includes(link)) continue;
        await this.#delete(key);
        forgotten.set(link, (forgotten.get(link) ?? 0) + 1);
      }
    }
    return forgotten;
  }

  /** Links with something to undo in the kernel. */
  async journals(): Promise<BridgePortJournal[]> {
    return this.#values<BridgePortJournal>('journal/');
  }

  /** Not synced: an older peer, or none, only costs the next start a second of negotiation. */
  putPeer(link: string, peer: StoredPeer | undefined): Promise<void> {
    return peer === undefined ? this.#delete(`peer/${link}/`) : this.#put(`peer/${link}/`, peer, false);
  }

  peer(link: string): Promise<StoredPeer | undefined> {
    return this.#get<StoredPeer>(`peer/${link}/`);
  }

  /** Not synced either. */
  putProven(link: string, proven: StoredProven | undefined): Promise<void> {
    const key = `proven/${link}/`;
    return proven === undefined ? this.#delete(key) : this.#put(key, proven, false);
  }

  proven(link: string): Promise<StoredProven | undefined> {
    return this.#get<StoredProven>(`proven/${link}/`);
  }

  #put(key: string, value: unknown, sync: boolean): Promise<void> {
    return this.#write({ type: 'put', key, value }, sync);
  }

  #delete(key: string): Promise<void> {
    return this.#write({ type: 'del', key }, true);
  }

  /** In the order of the calls; what comes while a write is under way goes into the next one together. */
  #write(operation: Operation, sync: boolean): Promise<void> {
    const written = new Promise<void>((resolve, reject) =>
      this.#waiting.push({ operation, sync, resolve, reject }),
    );
    this.#writing ??= this.#writeWaiting();
    return written;
  }

  async #writeWaiting(): Promise<void> {
    // One turn later, so that writes asked for together are written together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        const operations = batch.map(({ operation }) => operation);
        await this.#guard(this.#level.batch(operations, { sync: batch.some(({ sync }) => sync) }));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error as Error);
      }
    }
    this.#writing = undefined;
  }

  async #get<T>(key: string): Promise<T | undefined> {
    return (await this.#guard(this.#level.get(key))) as T | undefined;
  }

  async #values<T>(prefix: string): Promise<T[]> {
    return (await this.#guard(this.#level.values({ gte: prefix, lt: `${prefix}\uffff` }).all())) as T[];
  }

  async #guard<T>(operation: Promise<T>): Promise<T> {
    try {
      return await operation;
    } catch (error) {
      throw new StoreError(`the state in ${this.#folder} cannot be read or written: ${causeOf(error)}`);
    }
  }
}

function causeOf(error: unknown): string {
  const { message, cause } = error as { message: string; cause?: { message?: string } };
  return (cause?.message ?? message).split('\n')[0]!;
}

function openProblem(error: unknown): string {
  const cause = causeOf(error);
  if (/lock/i.test(cause) && !/permission/i.test(cause))
    return 'another evbd uses it (give each its own --state-dir)';
  return cause;
}
