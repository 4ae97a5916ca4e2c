import { ETHERTYPE_LLDP, type EthernetFrame } from '../../protocols/ethernet/index.ts';
import { ETHERTYPES } from './filter.ts';
import { Link, type LinkCounters, type LinkOptions } from './link.ts';

const WITHOUT_LLDP = ETHERTYPES.filter((etherType) => etherType !== ETHERTYPE_LLDP);

/**
 * Frames of the three protocols in and out of a bond, which is one link to its peer: LLDP goes out of every member that carries
 * frames, as the other end may look at each, and is heard on each; ECP goes as the bond sends it, once. A backup member is left
 * alone: the bond's address seen there would draw its frames.
 */
export class BondLink {
  readonly #options: LinkOptions;
  readonly #bond: Link;
  readonly #members = new Map<number, Link>();
  /** Of members that carry frames no longer. */
  #past: LinkCounters | undefined;
  #framesPerSecond: number;
  /** What the next member is told at once. */
  #lldpdu: EthernetFrame | undefined;
  #heardOn: number | undefined;

  /** `options` of the bond. Throws SocketError. */
  constructor(options: LinkOptions, members: readonly number[]) {
    this.#options = options;
    this.#framesPerSecond = options.framesPerSecond;
    this.#bond = new Link({ ...options, etherTypes: WITHOUT_LLDP });
    try {
      this.setMembers(members);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Interface indexes of the members that carry frames now. Throws SocketError. */
  setMembers(members: readonly number[]): void {
    for (const [index, link] of this.#members) if (!members.includes(index)) this.#leave(index, link);
    for (const index of members) {
      if (this.#members.has(index)) continue;
      const link = this.#open(index);
      this.#members.set(index, link);
      if (this.#lldpdu !== undefined) link.send(this.#lldpdu);
    }
  }

  /** Interface index of the member by which the peer's last LLDPDU came. */
  get heardOn(): number | undefined {
    return this.#heardOn;
  }

  limit(framesPerSecond: number): void {
    this.#framesPerSecond = framesPerSecond;
    for (const link of this.#links) link.limit(framesPerSecond);
  }

  get counters(): LinkCounters {
    const present = this.#links.map(({ counters }) => counters);
    return (this.#past === undefined ? present : [this.#past, ...present]).reduce(sumOf);
  }

  send(frame: EthernetFrame): void {
    if (frame.etherType !== ETHERTYPE_LLDP) {
      this.#bond.send(frame);
      return;
    }
    this.#lldpdu = frame;
    for (const link of this.#members.values()) link.send(frame);
  }

  close(): void {
    for (const link of this.#links) link.close();
    this.#members.clear();
  }

  get #links(): Link[] {
    return [this.#bond, ...this.#members.values()];
  }

  #open(interfaceIndex: number): Link {
    const { onFrame, peers } = this.#options;
    return new Link({
      ...this.#options,
      interfaceIndex,
      framesPerSecond: this.#framesPerSecond,
      etherTypes: [ETHERTYPE_LLDP],
      onFrame: (frame, octets) => {
        onFrame(frame, octets);
        if (peers().includes(frame.source)) this.#heardOn = interfaceIndex;
      },
    });
  }

  #leave(index: number, link: Link): void {
    this.#past = this.#past === undefined ? link.counters : sumOf(this.#past, link.counters);
    link.close();
    this.#members.delete(index);
  }
}

function sumOf(a: LinkCounters, b: LinkCounters): LinkCounters {
  const sum = { ...a };
  for (const name of Object.keys(sum) as (keyof LinkCounters)[]) sum[name] += b[name];
  return sum;
}
