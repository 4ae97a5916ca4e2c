import type { EvbParameters, EvbTlv } from '../../protocols/lldp-codec/index.ts';
import {
  decodeStatus,
  type FilterEntry,
  filtersMatch,
  lldpadVsiKey,
  type VsiCommand,
  type VsiTlv,
} from '../../protocols/vdp/index.ts';

/** auto: learnt from what the bridge says and loses. */
export type PeerPolicy = 'auto' | 'standard' | 'lldpad';

/** Milliseconds until a request without an answer is repeated: to a peer not known to lose any, to one that does. */
const REPEAT_AFTER = 500;
const REPEAT_SOON = 100;
/** Answers after which VSIs are put together into ECPDUs. */
const PROBATION = 8;
/**
 * lldpad sends one answer per ack timer, acknowledged or not: at 14 six a second, fewer than the keepalives of 64 VSIs
 * (interop-notes.md 10, row 9).
 */
const LLDPAD_RTE = 8;
/** Beyond, lldpad's timers overflow (vdp.md 4.1, row 12). */
const LLDPAD_EXPONENT = 27;
/** Milliseconds that lldpad may be late with the end of a VSI, beyond toutKeepAlive. */
const LATE = 1_000;

/**
 * How gently the bridge is treated: whether it is asked for one VSI after the other, when a request is repeated that it has
 * not answered, which ack timer it is offered (interop-notes.md 10, rows 5 and 9), and when it can be asked for
 * other filters of a VSI that it still holds (vdp.md 4.2).
 */
export class Treatment {
  policy: PeerPolicy;
  readonly counters = { requestsRepeated: 0 };
  /** The bridge was seen to lose requests. */
  #loses = false;
  #isLldpad: boolean;
  /** Since the link came up. */
  #answers = 0;
  /** VSIs that were asked for again within the same respWaitDelay, how often, and whether after an acknowledged request. */
  readonly #repeated = new Map<string, { times: number; lost: boolean }>();
  /** What the bridge holds, by lldpad's idea of a VSI, and until when if it hears no more of it; the oldest first. */
  readonly #held = new Map<string, { filters: readonly FilterEntry[]; until: number }>();

  constructor(policy: PeerPolicy) {
    this.policy = policy;
    this.#isLldpad = policy === 'lldpad';
  }

  get isLldpad(): boolean {
    return this.#isLldpad;
  }

  /** A new peer is asked for one VSI after the other until it has shown that it answers; one that loses any, for good. */
  get patient(): boolean {
    if (this.policy !== 'auto') return this.policy === 'lldpad';
    return this.#isLldpad || this.#loses || this.#answers < PROBATION;
  }

  linkUp(): void {
    this.#answers = 0;
  }

  /**
   * What the bridge says, to `own`: it shows whether it is lldpad in its second LLDPDU at the latest, by flagging both values as
   * its peer's also where they are its own as well (evb-tlv.md 1.7). So does only who proposes less than we do in both. True when
   * that is news.
   */
  heard(remote: EvbTlv | undefined, own: EvbTlv): boolean {
    const flagged = remote?.rwdRol === true && remote.rkaRol;
    // Once it is known, what it echoes may be what we proposed before.
    const looksLikeIt = flagged && (this.#isLldpad || (remote.rwd === own.rwd && remote.rka === own.rka));
    const isLldpad = this.policy === 'lldpad' || (this.policy === 'auto' && looksLikeIt);
    if (isLldpad === this.#isLldpad) return false;
    this.#isLldpad = isLldpad;
    return true;
  }

  /** What is to be proposed. */
  proposal(wanted: EvbParameters): EvbParameters {
    if (!this.#isLldpad) return wanted;
    const { r, rte, rwd, rka } = wanted;
    const most = (exponent: number) => Math.min(exponent, LLDPAD_EXPONENT);
    return { r, rte: Math.min(rte, LLDPAD_RTE), rwd: most(rwd), rka: most(rka) };
  }

  /** When a request is to be repeated that ECP was done with at `since`. */
  repeatAt(key: string, since: number): number {
    return since + (this.patient ? REPEAT_SOON : REPEAT_AFTER) * 2 ** (this.#repeated.get(key)?.times ?? 0);
  }

  /**
   * Whether a request is to be repeated, now that its time has come. `awaited`: it still waits for an answer; `delivered`: the
   * bridge has acknowledged it, else ECP gave it up.
   */
  repeats(key: string, awaited: boolean, delivered: boolean): boolean {
    if (!awaited || this.policy === 'standard') {
      this.#repeated.delete(key);
      return false;
    }
    const { times, lost } = this.#repeated.get(key) ?? { times: 0, lost: false };
    this.#repeated.set(key, { times: times + 1, lost: lost || delivered });
    this.counters.requestsRepeated++;
    return true;
  }

  /** An answer came. To a repeated request it tells that the bridge lost the first, if it had that: true when that is news. */
  answered(key: string): boolean {
    this.#answers++;
    const lost = this.#repeated.get(key)?.lost;
    this.#repeated.delete(key);
    if (!lost || this.policy !== 'auto' || this.#loses) return false;
    this.#loses = true;
    return true;
  }

  forget(key: string): void {
    this.#repeated.delete(key);
  }

  /** A request goes to the bridge; it is over at the latest when the bridge has heard no other for `toutKeepAlive`. */
  asks(command: VsiCommand, toutKeepAlive: number, now: number): void {
    if (this.policy === 'standard') return;
    for (const [key, { until }] of this.#held) {
      if (until > now) break;
      this.#held.delete(key);
    }
    // lldpad keeps the filters that it has, whatever it is asked.
    const before = this.#isLldpad ? this.#held.get(lldpadVsiKey(command)) : undefined;
    this.#hold(command, before?.filters ?? command.filters, now + toutKeepAlive);
  }

  /** The bridge's own word on a VSI. */
  told(tlv: VsiTlv, manager: Uint8Array, toutKeepAlive: number, now: number): void {
    const identity = { ...tlv, manager };
    const { ack, error, keep } = decodeStatus(tlv.status);
    if (!ack || (error !== 0 && !keep)) this.#held.delete(lldpadVsiKey(identity));
    else if (this.#held.has(lldpadVsiKey(identity))) this.#hold(identity, tlv.filters, now + toutKeepAlive);
  }

  /** When lldpad has forgotten the other filters of this VSI, if it still holds it with others. */
  freeAt(command: VsiCommand, now: number): number | undefined {
    const held = this.#isLldpad ? this.#held.get(lldpadVsiKey(command)) : undefined;
    if (held === undefined || held.until <= now) return undefined;
    const same = filtersMatch(command.filters, held.filters) && filtersMatch(held.filters, command.filters);
    return same ? undefined : held.until;
  }

  #hold(vsi: Parameters<typeof lldpadVsiKey>[0], filters: readonly FilterEntry[], until: number): void {
    const key = lldpadVsiKey(vsi);
    this.#held.delete(key);
    this.#held.set(key, { filters, until: until + LATE });
  }
}
