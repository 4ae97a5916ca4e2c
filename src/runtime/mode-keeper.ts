import { KernelError } from '../kernel/kernel-error.ts';
import type { Slave, SwitchedSlave } from '../kernel/slave-watch.ts';
import { Rounds } from './rounds.ts';

export interface ModeKeeperOptions {
  /** Of an earlier run. */
  journal: readonly SwitchedSlave[];
  /** What has to be undone, before it is done; empty: nothing any more. */
  onJournal(switched: readonly SwitchedSlave[]): Promise<void>;
  /** The slaves of now; undefined: not known. */
  slaves(): readonly Slave[] | undefined;
  /** The slave shall be in bridge mode now. */
  wanted(slave: Slave): boolean;
  /** Names a namespace; undefined: the kernel gives no such name. */
  placeOf(namespaceId: number | undefined): Promise<string | undefined>;
  /** Changes the mode, if it is in that namespace still, and has the slave looked at again. */
  setMode(slave: Slave, mode: 'vepa' | 'bridge', place: string | undefined): Promise<void>;
  /** What `switched` or `refusal` say is another, though the slaves are the same. */
  changed(): void;
  warn(text: string): void;
}

/**
 * Switches macvlan slaves from VEPA to bridge mode and back: one round at a time, always toward the newest wish. Only a slave that
 * it switched itself is switched back, and only while it is still as it was left.
 */
export class ModeKeeper {
  readonly #options: ModeKeeperOptions;
  /** By the slave's serial number; what an earlier run left has none until the slave is seen. */
  readonly #switched = new Map<number, SwitchedSlave>();
  /** What could not be done, and why; not tried again until something is another. */
  readonly #refused = new Map<number, { what: string; reason: string }>();
  /** Causes that the log has: slaves that come and go without end do not fill it. */
  readonly #said = new Set<string>();
  #left: SwitchedSlave[];
  /** What the journal has now. */
  #written: string;
  /** Why the last round was not carried out. */
  #problem: Error | undefined;
  readonly #rounds = new Rounds(() => this.#round());
  #restoring = false;

  constructor(options: ModeKeeperOptions) {
    this.#options = options;
    this.#left = [...options.journal];
    this.#written = JSON.stringify(options.journal);
  }

  /** The slave is in bridge mode by us: for all others it counts as one in VEPA mode. */
  switched(slave: Slave): boolean {
    return slave.mode === 'bridge' && (this.#switched.has(slave.serial) || this.#leftOf(slave) !== undefined);
  }

  /** Why a slave is not in the mode that it shall be in. */
  refusal({ serial }: Slave): string | undefined {
    return this.#refused.get(serial)?.reason;
  }

  /** Slaves or the wish have changed. `anew`: what could not be done is worth another try. */
  reshape(anew = false): void {
    if (anew) {
      this.#refused.clear();
      this.#said.clear();
    }
    this.#rounds.due();
  }

  /** Every slave as it was before us. Rejects with why one of them is not; of none anything is known while the uplink is away. */
  async restore(): Promise<void> {
    this.#restoring = true;
    try {
      this.reshape(true);
      await this.#rounds.idle();
    } finally {
      this.#restoring = false;
    }
    if (this.#problem !== undefined) throw this.#problem;
    const stays = this.#options.slaves()?.find((slave) => this.switched(slave));
    if (stays !== undefined) throw new Error(this.refusal(stays) ?? `${stays.name} is in bridge mode still`);
  }

  /** No further changes; resolves when those under way are done. */
  close(): Promise<void> {
    return this.#rounds.close();
  }

  /**
   * What an earlier run left of this slave: where it was left, or where somebody who makes slaves here for a namespace has moved it
   * since. With none of its own address and name, or with another index, it is another slave.
   */
  #leftOf({ name, index, namespaceId, mac, mode }: Slave): SwitchedSlave | undefined {
    if (mode !== 'bridge') return undefined;
    const alike = this.#left.filter((left) => left.index === index);
    return (
      alike.find((left) => left.namespaceId === namespaceId && (left.mac === mac || left.name === name)) ??
      alike.find((left) => left.namespaceId === undefined && left.mac === mac)
    );
  }

  async #round(): Promise<void> {
    this.#problem = undefined;
    try {
      await this.#carryOut();
    } catch (error) {
      this.#problem = error as Error;
      this.#options.warn(this.#problem.message);
    }
  }

  async #carryOut(): Promise<void> {
    const slaves = this.#options.slaves();
    if (slaves === undefined) return;
    if (this.#left.length > 0) await this.#recognize(slaves);
    const serials = new Set(slaves.map(({ serial }) => serial));
    // Gone, and what was done to it with it.
    for (const serial of this.#switched.keys()) if (!serials.has(serial)) this.#switched.delete(serial);
    for (const serial of this.#refused.keys()) if (!serials.has(serial)) this.#refused.delete(serial);
    const beginning: Slave[] = [];
    for (const slave of slaves) {
      const wanted = !this.#restoring && this.#options.wanted(slave);
      const entry = this.#switched.get(slave.serial);
      if (entry === undefined) {
        if (!wanted) this.#refused.delete(slave.serial);
        else if (slave.mode === 'vepa' && (await this.#enter(slave))) beginning.push(slave);
      } else if (slave.mode !== 'bridge') {
        // It is somebody else's by now.
        this.#switched.delete(slave.serial);
      } else if (wanted) {
        const moved = entry.namespaceId !== slave.namespaceId;
        const place = moved ? await this.#placeOf(slave).catch(() => undefined) : entry.place;
        this.#switched.set(slave.serial, entryOf(slave, place));
      } else if (await this.#try(slave, 'vepa', () => this.#options.setMode(slave, 'vepa', undefined)))
        this.#switched.delete(slave.serial);
    }
    await this.#begin(beginning);
    await this.#write();
  }

  /** Into the journal with it, if it can be told where it is. */
  #enter(slave: Slave): Promise<boolean> {
    return this.#try(slave, 'bridge', async () => {
      this.#switched.set(slave.serial, entryOf(slave, await this.#placeOf(slave)));
    });
  }

  async #begin(slaves: readonly Slave[]): Promise<void> {
    try {
      await this.#write();
    } catch (error) {
      for (const { serial } of slaves) this.#switched.delete(serial);
      throw error;
    }
    for (const slave of slaves) {
      const place = this.#switched.get(slave.serial)?.place;
      if (!(await this.#try(slave, 'bridge', () => this.#options.setMode(slave, 'bridge', place))))
        this.#switched.delete(slave.serial);
    }
  }

  #placeOf({ namespaceId }: Slave): Promise<string | undefined> {
    return this.#options.placeOf(namespaceId);
  }

  /** Finds what an earlier run left among the slaves of now. */
  async #recognize(slaves: readonly Slave[]): Promise<void> {
    let mistaken = false;
    for (const slave of slaves) {
      const left = this.#leftOf(slave);
      if (left === undefined) continue;
      const place = await this.#options.placeOf(left.namespaceId).catch(() => left.place);
      // Its namespace has ended, and another one has its id.
      if (place !== left.place) mistaken = true;
      else this.#switched.set(slave.serial, left);
    }
    this.#left = [];
    if (mistaken) this.#options.changed();
  }

  /** Says each cause once, for the first slave that has it: the text has its name. */
  async #try(slave: Slave, mode: 'vepa' | 'bridge', act: () => Promise<void>): Promise<boolean> {
    const { serial, index, namespaceId, mac } = slave;
    const what = `${mode} ${namespaceId} ${index} ${mac}`;
    if (this.#refused.get(serial)?.what === what) return false;
    try {
      await act();
      if (this.#refused.delete(serial)) this.#options.changed();
      return true;
    } catch (error) {
      const reason = (error as Error).message;
      const cause = error instanceof KernelError ? error.code : reason;
      this.#refused.set(serial, { what, reason });
      if (!this.#said.has(cause)) this.#options.warn(reason);
      this.#said.add(cause);
      this.#options.changed();
      return false;
    }
  }

  async #write(): Promise<void> {
    const entries = [...this.#switched.values(), ...this.#left];
    const text = JSON.stringify(entries);
    if (text === this.#written) return;
    await this.#options.onJournal(entries);
    this.#written = text;
  }
}

function entryOf({ name, index, namespaceId, mac }: Slave, place: string | undefined): SwitchedSlave {
  return {
    name,
    index,
    ...(namespaceId === undefined ? {} : { namespaceId }),
    ...(place === undefined ? {} : { place }),
    ...(mac === undefined ? {} : { mac }),
  };
}
