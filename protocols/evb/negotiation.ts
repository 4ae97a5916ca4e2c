import type { EvbParameters, EvbTlv } from '../lldp-codec/index.ts';

/** What one TLV tells of the four parameters. */
export type ParameterFields = Pick<EvbTlv, 'r' | 'rte' | 'rwd' | 'rka' | 'rwdRol' | 'rkaRol'>;

/**
 * Combination of local and remote values (evb-tlv.md 1.7): operational is the larger one. What is transmitted neither ratchets
 * (a value once raised stays up because both sides echo it) nor flaps, whether the peer sends proposals or maxima.
 */
export class ParameterNegotiation {
  #local: EvbParameters;
  #remote: EvbParameters = NOTHING;
  readonly #sentLocal = { rwd: new Set<number>(), rka: new Set<number>() };
  /** What the peer last said of itself, since we last changed what we propose. */
  #claimed: { rwd?: number; rka?: number } = {};

  constructor(local: EvbParameters) {
    this.#local = local;
  }

  propose(local: EvbParameters): void {
    // What the peer claimed before may have been its echo of what is lowered now.
    for (const field of ['rwd', 'rka'] as const) {
      if (local[field] !== this.#local[field]) delete this.#claimed[field];
    }
    this.#local = local;
  }

  receive(tlv: ParameterFields): void {
    this.#remote = {
      r: tlv.r,
      rte: tlv.rte,
      rwd: this.#proposal('rwd', tlv.rwd, tlv.rwdRol),
      rka: this.#proposal('rka', tlv.rka, tlv.rkaRol),
    };
  }

  /** The neighbour is gone; the next one begins anew. */
  forget(): void {
    this.#remote = NOTHING;
    this.#claimed = {};
    this.#sentLocal.rwd.clear();
    this.#sentLocal.rka.clear();
  }

  operational(): EvbParameters {
    const larger = (field: keyof EvbParameters) => Math.max(this.#local[field], this.#remote[field]);
    return { r: larger('r'), rte: larger('rte'), rwd: larger('rwd'), rka: larger('rka') };
  }

  /**
   * R and RTE are always our own proposal; RWD and RKA are the larger value, flagged when it is the peer's. One that the peer has
   * only flagged may be our own of a run before: hearing ours, it tells what it proposes itself.
   */
  transmit(): ParameterFields {
    const isPeers = (field: 'rwd' | 'rka') =>
      this.#remote[field] > this.#local[field] && this.#claimed[field] !== undefined;
    const rwdRol = isPeers('rwd');
    const rkaRol = isPeers('rka');
    if (!rwdRol) this.#sentLocal.rwd.add(this.#local.rwd);
    if (!rkaRol) this.#sentLocal.rka.add(this.#local.rka);
    return {
      r: this.#local.r,
      rte: this.#local.rte,
      rwd: rwdRol ? this.#remote.rwd : this.#local.rwd,
      rwdRol,
      rka: rkaRol ? this.#remote.rka : this.#local.rka,
      rkaRol,
    };
  }

  /**
   * A value flagged "remote" that we once sent as our own is our echo; lldpad flags its own value too once it sees it echoed.
   * While our own proposal covers the echo, the peer's is hidden behind it: what was known of it may be outdated by now, and
   * two peers that remember would hand it back and forth for ever. So it is forgotten, unless the peer has claimed it since ours
   * fell; when ours falls, the peer tells anew. More than the peer has claimed is what it once misheard of us.
   */
  #proposal(field: 'rwd' | 'rka', value: number, rol: boolean): number {
    const claimed = this.#claimed[field];
    if (!rol) {
      this.#claimed[field] = value;
      return value;
    }
    const echoed = this.#sentLocal[field].has(value);
    if (!echoed && value <= (claimed ?? value)) return value;
    const known = this.#remote[field];
    if (this.#local[field] >= value) return 0;
    return known < value || claimed === value ? known : 0;
  }
}

const NOTHING: EvbParameters = { r: 0, rte: 0, rwd: 0, rka: 0 };
