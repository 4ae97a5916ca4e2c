import type { Slave, SwitchedSlave } from '../kernel/slave-watch.ts';

export interface ModeKeeperOptions {
  /** Of an earlier run. */
  journal: readonly SwitchedSlave[];
  /** What has to be undone, before it is done; empty: nothing any more. */
  onJournal(switched: readonly SwitchedSlave[]): Promise<void>;
  /** The slaves of now; undefined: not known yet. */
  slaves(): readonly Slave[] | undefined;
  /** The slave shall be in bridge mode now. */
  wanted(slave: Slave): boolean;
  /** Changes the mode, and has the slave looked at again. */
  setMode(slave: Slave, mode: 'vepa' | 'bridge'): Promise<void>;
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
  #left: SwitchedSlave[];
  #due = false;
  #round: Promise<void> | undefined;
  #restoring = false;
  #closed = false;

  constructor(options: ModeKeeperOptions) {
    this.#options = options;
    this.#left = [...options.journal];
  }

  /** The slave is in bridge mode by us: for all others it counts as one in VEPA mode. */
  switched(slave: Slave): boolean {
    return slave.mode === 'bridge' && (this.#switched.has(slave.serial) || this.#leftOf(slave) !== undefined);
  }

  /** Slaves or the wish have changed. */
  reshape(): void {
    this.#due = true;
    if (this.#closed) return;
    this.#round ??= this.#rounds().finally(() => {
      this.#round = undefined;
    });
  }

  /** Every slave as it was before us. */
  async restore(): Promise<void> {
    this.#restoring = true;
    try {
      this.reshape();
      await this.#round;
    } finally {
      this.#restoring = false;
    }
  }

  /** No further changes; resolves when those under way are done. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#round;
  }

  /** What an earlier run left of this slave: it may have been given another index by a move meanwhile, or another address. */
  #leftOf({ index, namespaceId, mac }: Slave): SwitchedSlave | undefined {
    const isThere = (left: SwitchedSlave) => left.index === index && left.namespaceId === namespaceId;
    return this.#left.find(isThere) ?? this.#left.find((left) => left.mac !== undefined && left.mac === mac);
  }

  async #rounds(): Promise<void> {
    await Promise.resolve();
    while (this.#due && !this.#closed) {
      this.#due = false;
      try {
        await this.#carryOut();
      } catch (error) {
        this.#options.warn((error as Error).message);
      }
    }
  }

  async #carryOut(): Promise<void> {
    const slaves = this.#options.slaves();
    if (slaves === undefined) return;
    for (const slave of slaves) {
      const left = this.#leftOf(slave);
      if (left === undefined) continue;
      this.#left = this.#left.filter((other) => other !== left);
      this.#switched.set(slave.serial, left);
    }
    const serials = new Set(slaves.map(({ serial }) => serial));
    // Gone, and what was done to it with it.
    for (const serial of this.#switched.keys()) if (!serials.has(serial)) this.#switched.delete(serial);
    for (const slave of slaves) {
      const wanted = !this.#restoring && this.#options.wanted(slave);
      if (this.#switched.has(slave.serial)) {
        this.#switched.set(slave.serial, entryOf(slave));
        // In another mode it is somebody else's by now.
        if (slave.mode === 'bridge' && wanted) continue;
        if (slave.mode === 'bridge') await this.#set(slave, 'vepa');
        this.#switched.delete(slave.serial);
      } else if (wanted && slave.mode === 'vepa') {
        this.#switched.set(slave.serial, entryOf(slave));
        await this.#write();
        if (!(await this.#set(slave, 'bridge'))) this.#switched.delete(slave.serial);
      }
    }
    this.#left = [];
    await this.#write();
  }

  async #set(slave: Slave, mode: 'vepa' | 'bridge'): Promise<boolean> {
    try {
      await this.#options.setMode(slave, mode);
      return true;
    } catch (error) {
      this.#options.warn((error as Error).message);
      return false;
    }
  }

  #written = '';

  async #write(): Promise<void> {
    const entries = [...this.#switched.values(), ...this.#left];
    const text = JSON.stringify(entries);
    if (text === this.#written) return;
    await this.#options.onJournal(entries);
    this.#written = text;
  }
}

function entryOf({ name, index, namespaceId, mac }: Slave): SwitchedSlave {
  return {
    name,
    index,
    ...(namespaceId === undefined ? {} : { namespaceId }),
    ...(mac === undefined ? {} : { mac }),
  };
}
