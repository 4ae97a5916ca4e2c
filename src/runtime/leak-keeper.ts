import { isDeepStrictEqual } from 'node:util';
import { hasCode, KernelError } from '../kernel/kernel-error.ts';
import { type Cause, causeOf } from '../kernel/leak-cause.ts';
import type { LeakTable } from '../kernel/leak-table.ts';
import type { LinkWatch } from '../kernel/link-watch.ts';
import type { LeakState } from '../model.ts';
import { Alarm, now } from './clock.ts';
import { Correction, Rounds } from './rounds.ts';

export interface Leak {
  state: LeakState;
  reason: string;
}

/** The kernel's links of now. */
type LinkTable = Pick<LinkWatch, 'get' | 'links'>;

export interface LeakKeeperOptions {
  links: LinkTable;
  /** Indexes of the ports that have to be let go, before they are taken; empty: none any more. */
  onJournal(ports: readonly number[]): Promise<void>;
  /** What leak() tells of this port has changed. */
  onLeak(name: string): void;
  /** Throws KernelError. */
  openTable(onForeignChange: () => void): Pick<LeakTable, 'set' | 'close'>;
  warn(text: string): void;
}

/** Pause after what may go better the next time, milliseconds. */
const RETRY_AFTER = 5_000;
const TRANSIENT = 'EAGAIN EBADMSG EBUSY EINTR EMFILE ENFILE ENOBUFS ENOMEM ERESTART ETIMEDOUT'.split(' ');

const NONE: Leak = { state: 'none', reason: '' };

/** A port that is served: its index, and why its bridge leaks if it does. */
interface Served {
  index: number | undefined;
  cause: Cause | undefined;
}

/**
 * Keeps EVB frames within the wire that they belong to: finds out which of the served ports are in a bridge that forwards frames for
 * 01:80:c2:00:00:00, and stops that where it shall be stopped. One round at a time, always toward the newest wish; what somebody
 * else changes is put right.
 */
export class LeakKeeper {
  readonly #options: LeakKeeperOptions;
  readonly #modes = new Map<string, 'stop' | 'report'>();
  #served = new Map<string, Served>();
  /** What was told of each port. */
  readonly #told = new Map<string, Leak>();
  /** Ports whose leak we have stopped, or are about to stop: those to be let go some day. */
  #journal: ReadonlySet<number> = new Set();
  /** Of the last round. */
  #kept: ReadonlySet<number> = new Set();
  #problem: string | undefined;
  #table: ReturnType<LeakKeeperOptions['openTable']> | undefined;
  readonly #rounds = new Rounds(
    () => this.#round(),
    () => this.#state === 'running',
  );
  readonly #correction = new Correction(() => this.#rounds.due());
  readonly #retry = new Alarm(() => this.#rounds.due());
  #looking: Promise<void> | undefined;
  #state: 'waiting' | 'running' | 'closed' = 'waiting';

  constructor(options: LeakKeeperOptions) {
    this.#options = options;
  }

  /** All ports that are there have been served: now what an earlier run left may go where nobody wants it. */
  start(journal: readonly number[]): void {
    this.#journal = new Set(journal);
    this.#state = 'running';
    this.#rounds.due();
  }

  /** From now on, whether the port is there or not. */
  serve(name: string, mode: 'stop' | 'report'): void {
    if (this.#modes.get(name) === mode) return;
    this.#modes.set(name, mode);
    this.#look();
    this.#rounds.due();
  }

  /** Its frames are forwarded as before us. Rejects where that cannot be done. */
  async release(name: string): Promise<void> {
    const index = this.#options.links.get(name)?.index;
    this.#modes.delete(name);
    this.#look();
    this.#rounds.due();
    await this.#rounds.idle();
    if (index !== undefined && this.#journal.has(index) && this.#problem !== undefined)
      throw new Error(this.#problem);
  }

  /** A link has changed; what changes in one turn is looked at once. */
  refresh(): void {
    this.#looking ??= Promise.resolve().then(() => {
      this.#looking = undefined;
      if (this.#look()) this.#rounds.due();
    });
  }

  leak(name: string): Leak {
    const { index, cause } = this.#served.get(name) ?? {};
    if (index === undefined || cause === undefined) return NONE;
    if (this.#kept.has(index)) {
      return { state: 'stopped', reason: `${cause.text}; EVB frames are kept from its other ports` };
    }
    const leaks = `${cause.text}: EVB frames leak to its other ports`;
    if (this.#modes.get(name) === 'report') return { state: 'open', reason: `${leaks} (leak: report)` };
    if (this.#problem === undefined) return { state: 'open', reason: `${leaks}, which is being stopped` };
    return {
      state: 'open',
      reason: `${leaks}, which cannot be stopped: ${this.#problem}; mend: ${cause.mend}`,
    };
  }

  /** No further changes; what was done stays. Resolves when the change under way is done. */
  async close(): Promise<void> {
    this.#state = 'closed';
    this.#correction.close();
    await this.#rounds.close();
    this.#retry.cancel();
    this.#table?.close();
  }

  /** Looks at the served ports again; whether there is anything new. */
  #look(): boolean {
    const served = new Map([...this.#modes.keys()].map((name) => [name, this.#lookAt(name)]));
    if (isDeepStrictEqual(served, this.#served)) return false;
    this.#served = served;
    return true;
  }

  #lookAt(name: string): Served {
    const { links } = this.#options;
    const port = links.get(name);
    const bridge = port?.bridgePort && port.master !== undefined ? links.get(port.master) : undefined;
    return { index: port?.index, cause: bridge && causeOf(bridge, links) };
  }

  get #wanted(): ReadonlySet<number> {
    return new Set(
      [...this.#served].flatMap(([name, { index, cause }]) =>
        index !== undefined && cause !== undefined && this.#modes.get(name) === 'stop' ? index : [],
      ),
    );
  }

  async #round(): Promise<void> {
    await this.#carryOut(this.#wanted);
    this.#tell();
  }

  async #carryOut(wanted: ReadonlySet<number>): Promise<void> {
    const before = this.#journal;
    const asked = !isDeepStrictEqual(wanted, this.#kept) || before.size > wanted.size;
    try {
      if (wanted.size > 0 || this.#journal.size > 0) {
        this.#table ??= this.#options.openTable(() => this.#correction.due());
        await this.#write(new Set([...this.#journal, ...wanted]));
        const changed = await this.#table.set(wanted, (index) => this.#isStale(index, wanted));
        if (changed && !asked) {
          this.#options.warn(
            'the table evbd of nftables was changed or deleted by someone else; evbd puts it right',
          );
        }
        await this.#write(wanted);
      }
      if (wanted.size === 0) {
        this.#table?.close();
        this.#table = undefined;
      }
      this.#kept = wanted;
      this.#problem = undefined;
    } catch (error) {
      this.#kept = new Set();
      this.#problem = (error as Error).message;
      if (!(error instanceof KernelError) || hasCode(error, ...TRANSIENT)) {
        this.#retry.set(now() + RETRY_AFTER);
        return;
      }
      // Refused as a whole: of what was to be done nothing is.
      await this.#write(before).catch(() => {});
    }
  }

  /**
   * Ours and not wanted any more. What is of nobody, as the interface is gone, goes with our last one; before, another evbd may know
   * of an interface that we shall hear of only now.
   */
  #isStale(index: number, wanted: ReadonlySet<number>): boolean {
    if (wanted.has(index)) return false;
    return this.#journal.has(index) || (wanted.size === 0 && this.#options.links.get(index) === undefined);
  }

  async #write(journal: ReadonlySet<number>): Promise<void> {
    if (isDeepStrictEqual(journal, this.#journal)) return;
    await this.#options.onJournal([...journal]);
    this.#journal = journal;
  }

  #tell(): void {
    const names = new Set([...this.#told.keys(), ...this.#served.keys()]);
    for (const name of names) {
      const leak = this.leak(name);
      const told = this.#told.get(name) ?? NONE;
      if (leak.state === told.state && leak.reason === told.reason) continue;
      if (leak.state === 'none') this.#told.delete(name);
      else this.#told.set(name, leak);
      this.#options.onLeak(name);
    }
  }
}
