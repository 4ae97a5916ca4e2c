import type { EvbTlv } from '../../protocols/lldp-codec/index.ts';

/** auto: learnt from what the bridge says and loses. */
export type PeerPolicy = 'auto' | 'standard' | 'lldpad';

/** Milliseconds until an acknowledged request without an answer is repeated: of a peer not known to lose any, and of one that does. */
const REPEAT_AFTER = 500;
const REPEAT_SOON = 100;
/** Answers after which VSIs are put together into ECPDUs. */
const PROBATION = 8;
/** lldpad sends one answer per ack timer, acknowledged or not: at 14 six a second, fewer than its keepalives (interop-notes.md 10, row 9). */
const LLDPAD_RTE = 8;

/**
 * How gently the bridge is treated: whether it is asked for one VSI after the other, when a request is repeated that it has
 * acknowledged and not answered, and which ack timer it is offered (interop-notes.md 10, rows 5 and 9).
 */
export class Treatment {
  policy: PeerPolicy;
  readonly counters = { requestsRepeated: 0 };
  /** The bridge was seen to lose requests. */
  #loses = false;
  #isLldpad: boolean;
  /** Since the link came up. */
  #answers = 0;
  /** VSIs that were asked for again within the same respWaitDelay, and how often. */
  readonly #repeated = new Map<string, number>();

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
   * What the bridge says, to `own`: it shows whether it is lldpad in its second LLDPDU at the latest, by flagging a value as its
   * peer's that is its own as well (evb-tlv.md 1.7). True when that is news.
   */
  heard(remote: EvbTlv | undefined, own: EvbTlv): boolean {
    const looksLikeIt = remote?.rwdRol === true && !own.rwdRol && remote.rwd === own.rwd;
    const isLldpad = this.policy === 'lldpad' || (this.policy === 'auto' && looksLikeIt);
    if (isLldpad === this.#isLldpad) return false;
    this.#isLldpad = isLldpad;
    return true;
  }

  /** The ack timer exponent to be offered. */
  rte(proposal: number): number {
    return this.#isLldpad ? Math.min(proposal, LLDPAD_RTE) : proposal;
  }

  /** When a request is to be repeated that was acknowledged at `since`. */
  repeatAt(key: string, since: number): number {
    return since + (this.patient ? REPEAT_SOON : REPEAT_AFTER) * 2 ** (this.#repeated.get(key) ?? 0);
  }

  /** Whether a request is to be repeated, now that its time has come; `awaited`: it still waits for an answer. */
  repeats(key: string, awaited: boolean): boolean {
    if (!awaited || this.policy === 'standard') {
      this.#repeated.delete(key);
      return false;
    }
    this.#repeated.set(key, (this.#repeated.get(key) ?? 0) + 1);
    this.counters.requestsRepeated++;
    return true;
  }

  /** An answer came. To a repeated request it tells that the first was lost: true when that is news. */
  answered(key: string): boolean {
    this.#answers++;
    if (!this.#repeated.delete(key) || this.policy !== 'auto' || this.#loses) return false;
    this.#loses = true;
    return true;
  }

  forget(key: string): void {
    this.#repeated.delete(key);
  }
}
