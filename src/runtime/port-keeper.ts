import type { MacAddress } from '../../protocols/octets/index.ts';
import type { Link } from '../../protocols/rtnetlink/index.ts';
import { BridgePort, type BridgePortJournal } from '../kernel/bridge-port.ts';
import type { Rtnetlink } from '../kernel/rtnetlink.ts';
import type { PortShape, PortState } from '../port/shape.ts';
import { quoted } from '../shell.ts';
import { Correction, Rounds } from './rounds.ts';

export interface PortKeeperOptions {
  rtnetlink: Rtnetlink;
  /** Of an earlier run that left its changes in force. */
  journal: BridgePortJournal | undefined;
  /** What has to be undone, before it is done; null: nothing any more. */
  onJournal(journal: BridgePortJournal | null): Promise<void>;
  /** What the port shall be now; asked at the beginning of each round. */
  shape(): PortShape;
  /** Whether `isolated`, which defeats hairpin, is cleared while hairpin is on. */
  clearIsolated(): boolean;
  /** What it is after a round. */
  onState(state: PortState): void;
  warn(text: string): void;
}

/**
 * Keeps one port of a Linux bridge in the shape that its machine wants: one round at a time, always toward the newest wish, so
 * that wishes may change faster than the kernel. Follows the interface into and out of bridges, and puts right what others change.
 */
export class PortKeeper {
  readonly #options: PortKeeperOptions;
  #journal: BridgePortJournal | undefined;
  #port: BridgePort | undefined;
  #isolated = false;
  #vids: string | undefined;
  #locked: boolean | undefined;
  #hairpin = false;
  /** Hairpin was set without `isolated`. */
  #cleared = false;
  readonly #entered = new Set<MacAddress>();
  readonly #rounds = new Rounds(() => this.#round());
  readonly #correction = new Correction(() => this.reshape());
  readonly #warned = new Set<string>();
  #closed = false;

  constructor(options: PortKeeperOptions) {
    this.#options = options;
    this.#journal = options.journal;
  }

  /** The interface is a port of a Linux bridge. */
  get bridged(): boolean {
    return this.#port !== undefined;
  }

  /** An earlier run turned hairpin on, and nobody has turned it off since. */
  leftHairpinOn(link: Link): boolean {
    const { hairpin, isolated } = link.bridgePort ?? {};
    return this.#journal?.hairpin === false && hairpin === true && !isolated;
  }

  /** The interface as the kernel tells it now; undefined: it is gone. */
  follow(link: Link | undefined): void {
    const bridged = link?.bridgePort !== undefined && link.master !== undefined;
    const port = this.#port;
    if (!bridged) {
      this.#detach();
      return;
    }
    const { isolated } = link.bridgePort!;
    if (isolated !== this.#isolated) {
      this.#isolated = isolated;
      this.reshape();
    }
    if (port === undefined || port.index !== link.index) this.#attach(link);
    else {
      this.#observe(port, link).catch((error: Error) => this.#warn(error.message));
      this.#followVids(port, link);
    }
  }

  /** The wish has changed. */
  reshape(): void {
    this.#rounds.due();
  }

  /** Everything as it was before us; later wishes are carried out again. */
  async restore(): Promise<void> {
    await this.#rounds.drop();
    this.#forget();
    await this.#port?.restore();
  }

  /** No further changes; resolves when those under way are done. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#correction.close();
    await this.#rounds.close();
  }

  #attach(link: Link): void {
    this.#forget();
    const port = new BridgePort(this.#options.rtnetlink, link, {
      journal: this.#journal ?? null,
      onJournal: (journal) => {
        this.#journal = journal ?? undefined;
        return this.#options.onJournal(journal);
      },
    });
    this.#port = port;
    this.#vids = undefined;
    this.#followVids(port, link);
    this.reshape();
  }

  #detach(): void {
    if (this.#port === undefined) return;
    this.#port = undefined;
    this.#forget();
    this.reshape();
  }

  /** Entered again, what is let in has its entries in the VLANs that came too. */
  #followVids(port: BridgePort, { vids }: Link): void {
    const before = this.#vids;
    this.#vids = vids?.join();
    if (vids === undefined || this.#vids === before) return;
    port.setVids(vids).catch((error: Error) => this.#warn(error.message));
    this.#entered.clear();
    this.reshape();
  }

  /** Of what we set nothing is known any more, the journal's addresses included: each is looked up before it counts as let in. */
  #forget(): void {
    this.#locked = undefined;
    this.#hairpin = false;
    this.#entered.clear();
  }

  async #round(): Promise<void> {
    const state = await this.#carryOut(this.#port);
    if (!this.#closed) this.#options.onState(state);
  }

  async #carryOut(port: BridgePort | undefined): Promise<PortState> {
    const shape = this.#options.shape();
    const refused = new Map<MacAddress, string>();
    if (port === undefined) return { hairpin: false, macs: new Set(), refused };
    const problems: string[] = [];
    // What was done to a port that has left its bridge since is not so any more, even if it is back.
    const attempt = async (change: Promise<unknown>, done: () => void) => {
      try {
        await change;
        if (port === this.#port) done();
      } catch (error) {
        problems.push((error as Error).message);
      }
    };
    const locked = () => {
      this.#locked = shape.locked;
    };
    if (shape.locked && this.#locked !== true) {
      // Entered before the port is locked: what is allowed goes on without a gap.
      await this.#admit(port, shape, refused);
      await attempt(port.lock(), locked);
    } else if (!shape.locked && this.#locked !== false) await attempt(port.unlock(), locked);
    await this.#admit(port, shape, refused);
    const out = [...new Set([...this.#entered, ...port.admitted])].filter((mac) => !shape.macs.has(mac));
    await Promise.all(out.map((mac) => attempt(port.revoke(mac), () => this.#entered.delete(mac))));
    const clear = this.#options.clearIsolated();
    if (shape.hairpin && (!this.#hairpin || clear !== this.#cleared)) {
      await attempt(port.setHairpin(true, clear), () => {
        this.#hairpin = true;
        this.#cleared = clear;
        if (clear) this.#isolated = false;
      });
    } else if (!shape.hairpin) {
      await attempt(port.releaseHairpin(), () => {
        this.#hairpin = false;
      });
    }
    if (shape.hairpin && this.#isolated) {
      problems.push(
        `the port is isolated, which silently defeats hairpin: bridge link set dev ${quoted(port.name)} isolated off`,
      );
    }
    for (const problem of [...problems, ...refused.values()]) this.#warn(problem);
    if (problems.length + refused.size === 0) this.#warned.clear();
    const state = { hairpin: this.#hairpin && !this.#isolated, macs: new Set(this.#entered), refused };
    return problems[0] === undefined ? state : { ...state, problem: problems[0] };
  }

  async #admit(port: BridgePort, shape: PortShape, refused: Map<MacAddress, string>): Promise<void> {
    const wanting = [...shape.macs].filter((mac) => !this.#entered.has(mac));
    await Promise.all(
      wanting.map(async (mac) => {
        try {
          await port.admit(mac);
          if (port === this.#port) this.#entered.add(mac);
        } catch (error) {
          refused.set(mac, (error as Error).message);
        }
      }),
    );
  }

  /** Somebody else changed what we set: put right at once, and then once a second. */
  async #observe(port: BridgePort, link: Link): Promise<void> {
    let wrong = false;
    for (const { setting, text } of await port.observe(link)) {
      if (port !== this.#port || this.#closed) return;
      if (setting === 'bridge') {
        // It left its bridge and came back unseen: the kernel has forgotten our settings.
        this.#attach(link);
        return;
      }
      if (setting === 'isolated' && !this.#cleared) continue;
      this.#warn(`${text}; evbd puts it right`);
      if (setting === 'hairpin' || setting === 'isolated') this.#hairpin = false;
      else this.#locked = undefined;
      // It may have left the bridge and come back unseen: the entries are looked at again too.
      this.#entered.clear();
      wrong = true;
    }
    if (wrong) this.#correction.due();
  }

  /** Once, until all is well again. */
  #warn(text: string): void {
    if (this.#warned.has(text)) return;
    this.#warned.add(text);
    this.#options.warn(text);
  }
}
