import { isGroupMac, type MacAddress } from '../../protocols/octets/index.ts';
import type { BridgePortChange, BridgePortState, Link } from '../../protocols/rtnetlink/index.ts';
import { quoted } from '../shell.ts';
import { hasCode, KernelError } from './kernel-error.ts';
import type { Rtnetlink } from './rtnetlink.ts';
import { forEach, type Outcomes, WorkQueue } from './work-queue.ts';

/** What has to be undone at a port; plain data, to be kept as JSON. A flag is there only while ours differs from it. */
export interface BridgePortJournal {
  name: string;
  index: number;
  /** Index of the bridge; at another one there is nothing to undo. */
  bridge: number;
  /** The values before the first change. */
  hairpin?: boolean;
  locked?: boolean;
  learning?: boolean;
  isolated?: boolean;
  /** Addresses whose static entry is ours. */
  fdb: MacAddress[];
}

export interface BridgePortOptions {
  /** Of a previous run that left its changes in force; they are taken over. */
  journal?: BridgePortJournal | null;
  /**
   * Called with what will have to be undone before a change is made, null once nothing is left. The change waits for the
   * promise; a rejection calls it off and is passed on.
   */
  onJournal?(journal: BridgePortJournal | null): void | Promise<void>;
}

/** The port is not as we set it. */
export interface Deviation {
  setting: 'bridge' | 'hairpin' | 'locked' | 'learning' | 'isolated';
  /** One line: what was found and what it means. */
  text: string;
}

const FLAGS = ['hairpin', 'locked', 'learning', 'isolated'] as const;
type Flags = { [F in (typeof FLAGS)[number]]?: boolean };

type PortLink = Link & { master: number; bridgePort: BridgePortState };

/**
 * evbd's changes to one port of a Linux bridge, each with its undo. Calls are carried out one after the other, in order.
 * Methods reject with KernelError (EOPNOTSUPP: in no bridge, ENODEV: gone) or with what `onJournal` threw. What they
 * resolve with are warnings: one line each, usually none.
 *
 * On a VLAN-aware bridge an address is admitted in every VLAN of the port, also in those that come later; a static entry that
 * the administrator made there for single VLANs only is not told from ours and goes when the address is revoked.
 */
export class BridgePort {
  readonly index: number;
  readonly #rtnetlink: Rtnetlink;
  readonly #onJournal: (journal: BridgePortJournal | null) => void | Promise<void>;
  #wanted: Flags = {};
  #name: string;
  #journal: BridgePortJournal | null;
  readonly #queue = new WorkQueue<MacAddress, void>();
  #vids: readonly number[] | undefined;
  /** Admitted addresses that may lack an entry in a VLAN that has come. */
  #incomplete = new Set<MacAddress>();
  /** Addresses that had our entry in a VLAN when that was taken from the port: the kernel keeps it, and lets nobody at it. */
  readonly #stranded = new Map<number, ReadonlySet<MacAddress>>();

  constructor(rtnetlink: Rtnetlink, link: { index: number; name: string }, options: BridgePortOptions = {}) {
    this.index = link.index;
    this.#rtnetlink = rtnetlink;
    this.#name = link.name;
    this.#onJournal = options.onJournal ?? (() => {});
    this.#journal = options.journal ?? null;
  }

  get name(): string {
    return this.#name;
  }

  get journal(): BridgePortJournal | null {
    return structuredClone(this.#journal);
  }

  /** Addresses that have a static entry by us, a previous run included. */
  get admitted(): readonly MacAddress[] {
    return [...(this.#journal?.fdb ?? [])];
  }

  /** `clearIsolated`: what defeats hairpin is taken away with it, and otherwise is as it was before us. */
  setHairpin(on: boolean, clearIsolated = false): Promise<string[]> {
    const what = `set hairpin ${on ? 'on' : 'off'} on`;
    return this.#queue.run(async () => {
      const link = await this.#read(what);
      const isolated = clearIsolated ? false : this.#journal?.isolated;
      await this.#change(what, link, { hairpin: on, ...defined({ isolated }) });
      if (!clearIsolated) delete this.#wanted.isolated;
      return on && (isolated ?? link.bridgePort.isolated) ? [isolatedText(link.name)] : [];
    });
  }

  /** Hairpin, and `isolated` with it, as they were before us; from now on they are somebody else's. */
  releaseHairpin(): Promise<void> {
    return this.#queue.run(async () => {
      const { hairpin, isolated } = this.#journal ?? {};
      const what = 'give back hairpin of';
      const link = await this.#readIfThere(what);
      if (link && (hairpin ?? isolated) !== undefined)
        await this.#change(what, link, defined({ hairpin, isolated }));
      delete this.#wanted.hairpin;
      delete this.#wanted.isolated;
    });
  }

  /** Only admitted addresses may send from now on: locked on, learning off, and forgotten what was learnt here. */
  lock(): Promise<void> {
    return this.#queue.run(async () => {
      const link = await this.#read('lock');
      if (link.bridgePort.locked === undefined) {
        throw new KernelError(
          `lock ${this.#name}`,
          'EOPNOTSUPP',
          'this kernel has no locked bridge ports, Linux 5.18 has',
        );
      }
      // A learnt entry would let its address through until it has aged.
      await this.#change('lock', link, { locked: true, learning: false }, !link.bridgePort.locked);
    });
  }

  /** Locked and learning as they were before `lock`; entries stay until revoked. */
  unlock(): Promise<void> {
    return this.#queue.run(async () => {
      const { locked, learning } = this.#journal ?? {};
      const link = await this.#readIfThere('unlock');
      if (link) await this.#change('unlock', link, defined({ locked, learning }));
      delete this.#wanted.locked;
      delete this.#wanted.learning;
    });
  }

  /** A static entry, unless somebody else made one here. Addresses waiting together are entered together. */
  admit(mac: MacAddress): Promise<void> {
    return this.#queue.join(this.#admitAll, mac);
  }

  /** Removes our entry; somebody else's stays. An entry or a port that is gone is no error. */
  revoke(mac: MacAddress): Promise<void> {
    return this.#queue.join(this.#revokeAll, mac);
  }

  /** The VLANs of the port as they are now. What is admitted has to be admitted again, to have its entries in those that came. */
  setVids(vids: readonly number[]): Promise<void> {
    return this.#queue.run(async () => {
      const ours = new Set(this.#journal?.fdb);
      for (const vid of this.#vids ?? []) {
        if (vids.includes(vid)) continue;
        const before = this.#stranded.get(vid);
        this.#stranded.set(vid, before === undefined ? ours : new Set([...ours, ...before]));
      }
      if (vids.some((vid) => !this.#vids?.includes(vid))) this.#incomplete = new Set(ours);
      this.#vids = vids;
      for (const vid of vids) {
        const left = [...(this.#stranded.get(vid) ?? [])].filter((mac) => !ours.has(mac));
        this.#stranded.delete(vid);
        await Promise.all(
          left.map((mac) => this.#tolerant(this.#rtnetlink.deleteFdbEntry(this.index, mac, vid))),
        );
      }
    });
  }

  /** Everything as it was before us. A port that has left its bridge or is gone is no error. */
  restore(): Promise<void> {
    return this.#queue.run(async () => {
      this.#wanted = {};
      const link = this.#journal && (await this.#readIfThere('restore'));
      if (!link || !this.#journal) return;
      const { fdb, hairpin, locked, learning, isolated } = this.#journal;
      // Unlocked before the entries go: traffic does not stop in between.
      const flags = defined({ hairpin, locked, learning, isolated });
      if (Object.keys(flags).length > 0) await this.#tolerant(this.#set('restore', flags));
      await Promise.all(fdb.map((mac) => this.#tolerant(this.#rtnetlink.deleteFdbEntry(this.index, mac))));
      await this.#write(null);
    });
  }

  /**
   * What differs from what we set, given what LinkWatch tells of this link. A difference is confirmed with the kernel
   * first, behind the calls under way: an event may be older than our last change. The owner decides what to do.
   */
  async observe(link: Link): Promise<Deviation[]> {
    if (link.index !== this.index) return [];
    this.#name = link.name;
    if (this.#deviations(link).length === 0) return [];
    return this.#queue.run(async () => {
      const now = await this.#rtnetlink.link(this.index);
      const deviations = this.#deviations(now);
      if (deviations.some(({ setting }) => setting === 'bridge')) await this.#forget();
      return deviations;
    });
  }

  #deviations(link: Link | undefined): Deviation[] {
    const name = this.#name;
    const held = Object.keys(this.#wanted).length > 0 || this.#journal !== null;
    if (!link || !isPort(link)) {
      return held
        ? [{ setting: 'bridge', text: `${name} is ${link ? 'in no bridge any more' : 'gone'}` }]
        : [];
    }
    const deviations: Deviation[] = [];
    if (this.#journal && this.#journal.bridge !== link.master) {
      deviations.push({ setting: 'bridge', text: `${name} has moved to another bridge` });
    }
    for (const flag of FLAGS) {
      const wanted = this.#wanted[flag];
      if (wanted === undefined || link.bridgePort[flag] === wanted) continue;
      const [is, shall] = wanted ? ['off', 'on'] : ['on', 'off'];
      const text = `${flag} of ${name} was set ${is} by someone else; evbd had set it ${shall}`;
      deviations.push({ setting: flag, text });
    }
    if (this.#wanted.hairpin && this.#wanted.isolated === undefined && link.bridgePort.isolated) {
      deviations.push({ setting: 'isolated', text: isolatedText(name) });
    }
    return deviations;
  }

  /** Journal first where it becomes longer, kernel, then journal where it becomes shorter. */
  async #change(what: string, link: PortLink, flags: Flags, flush = false): Promise<void> {
    const previous = { ...this.#wanted };
    // Before the change: an event that tells of somebody else's may overtake our acknowledgement.
    Object.assign(this.#wanted, flags);
    try {
      const journal = { ...(this.#journal ?? this.#empty(link)) };
      const changing = FLAGS.filter(
        (flag) => flags[flag] !== undefined && flags[flag] !== link.bridgePort[flag],
      );
      for (const flag of changing) journal[flag] ??= !flags[flag];
      await this.#write(journal);
      if (changing.length > 0 || flush) await this.#set(what, { ...flags, ...(flush && { flush }) });
      for (const flag of FLAGS) if (flags[flag] === journal[flag]) delete journal[flag];
      await this.#write(journal);
    } catch (error) {
      this.#wanted = previous;
      throw error;
    }
  }

  async #set(what: string, change: BridgePortChange): Promise<void> {
    await this.#rtnetlink.setBridgePort(this.index, change, `${what} ${this.#name}`);
  }

  readonly #admitAll = async (macs: MacAddress[]): Promise<Outcomes<MacAddress, void>> => {
    const link = await this.#read('admit addresses at');
    const before = this.#journal ?? this.#empty(link);
    const wanting: MacAddress[] = [];
    const elsewhere = await this.#staticElsewhere(link);
    const outcomes = await forEach(macs, async (mac) => {
      if (await this.#needsEntry(mac, elsewhere)) wanting.push(mac);
    });
    await this.#write({ ...before, fdb: [...new Set([...before.fdb, ...wanting])] });
    const entered = await forEach(wanting, (mac) => this.#rtnetlink.replaceFdbEntry(this.index, mac));
    const failed = wanting.filter(
      (mac) => entered.get(mac)!.status === 'rejected' && !before.fdb.includes(mac),
    );
    if (this.#journal) await this.#write({ ...this.#journal, fdb: without(this.#journal.fdb, failed) });
    for (const [mac, outcome] of entered) {
      if (outcome.status === 'rejected') outcomes.set(mac, outcome);
      else this.#incomplete.delete(mac);
    }
    return outcomes;
  };

  /** On a VLAN-aware bridge: the addresses with a static entry at another port, in any VLAN that this one has too. */
  async #staticElsewhere({ master }: PortLink): Promise<ReadonlySet<MacAddress>> {
    const bridge = await this.#rtnetlink.link(master);
    if (!bridge?.bridge?.vlanFiltering) return new Set();
    const entries = await this.#rtnetlink.bridgeFdb(master);
    const taken = entries.filter(
      ({ kind, port, vlan = 0 }) =>
        kind === 'static' && port !== this.index && (this.#vids?.includes(vlan) ?? true),
    );
    return new Set(taken.map(({ mac }) => mac));
  }

  /** False: somebody made a static entry at this port already. Rejects where the address must not be let in here. */
  async #needsEntry(mac: MacAddress, elsewhere: ReadonlySet<MacAddress>): Promise<boolean> {
    const what = `admit ${mac} at ${this.#name}`;
    if (isGroupMac(mac)) throw new KernelError(what, 'EINVAL', 'it is a group address');
    const entry = await this.#rtnetlink.fdbEntry(this.index, mac);
    if (entry?.kind === 'permanent') {
      throw new KernelError(
        what,
        'EADDRINUSE',
        "it is one of the bridge's own addresses; give the guest another one",
      );
    }
    if ((entry?.kind === 'static' && entry.port !== this.index) || elsewhere.has(mac)) {
      // Somebody decided that it is there; a guest that moved is taken out of its old port first.
      throw new KernelError(what, 'EADDRINUSE', 'it has a static entry at another port of the bridge');
    }
    return entry?.kind !== 'static' || this.#incomplete.has(mac);
  }

  readonly #revokeAll = async (macs: MacAddress[]): Promise<Outcomes<MacAddress, void>> => {
    const link = await this.#readIfThere('revoke addresses at');
    const ours = new Set(link && this.#journal?.fdb);
    const outcomes = await forEach(macs, async (mac) => {
      if (ours.has(mac)) await this.#tolerant(this.#rtnetlink.deleteFdbEntry(this.index, mac));
    });
    const gone = macs.filter((mac) => outcomes.get(mac)!.status === 'fulfilled');
    if (this.#journal) await this.#write({ ...this.#journal, fdb: without(this.#journal.fdb, gone) });
    return outcomes;
  };

  /** The port as it is now. A journal of another port or bridge is moot and forgotten. */
  async #read(what: string): Promise<PortLink> {
    const link = await this.#rtnetlink.link(this.index);
    if (link) this.#name = link.name;
    const stale =
      this.#journal && (this.#journal.index !== this.index || this.#journal.bridge !== link?.master);
    if (stale || !isPort(link)) await this.#forget();
    if (!link)
      throw new KernelError(`${what} ${this.#name}`, 'ENODEV', 'there is no such interface any more');
    if (!isPort(link))
      throw new KernelError(`${what} ${this.#name}`, 'EOPNOTSUPP', 'it is in no Linux bridge');
    return link;
  }

  /** undefined when there is nothing (left) to undo here. */
  async #readIfThere(what: string): Promise<PortLink | undefined> {
    const link = await this.#tolerant(this.#read(what));
    return this.#journal ? link : undefined;
  }

  /** Leaving the bridge has undone everything. */
  async #forget(): Promise<void> {
    this.#wanted = {};
    this.#stranded.clear();
    await this.#write(null);
  }

  async #write(journal: BridgePortJournal | null): Promise<void> {
    const next =
      journal && (journal.fdb.length > 0 || FLAGS.some((flag) => journal[flag] !== undefined))
        ? journal
        : null;
    if (JSON.stringify(next) === JSON.stringify(this.#journal)) return;
    await this.#onJournal(structuredClone(next));
    this.#journal = next;
  }

  /** undefined where entry, port or bridge is gone. */
  async #tolerant<T>(change: Promise<T>): Promise<T | undefined> {
    try {
      return await change;
    } catch (error) {
      if (hasCode(error, 'ENOENT', 'ENODEV', 'EOPNOTSUPP')) return undefined;
      throw error;
    }
  }

  #empty(link: PortLink): BridgePortJournal {
    return { name: link.name, index: this.index, bridge: link.master, fdb: [] };
  }
}

function isPort(link: Link | undefined): link is PortLink {
  return link?.master !== undefined && link.bridgePort !== undefined;
}

function isolatedText(name: string): string {
  return `${name} is isolated, which silently defeats hairpin: bridge link set dev ${quoted(name)} isolated off`;
}

/** Without the keys whose value is undefined. */
function defined<T extends object>(values: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}

function without<T>(list: readonly T[], out: readonly T[]): T[] {
  const gone = new Set(out);
  return list.filter((item) => !gone.has(item));
}
