import { decodeFrame, type EthernetFrame, encodeFrame, FRAME_MAX } from '../../protocols/ethernet/index.ts';
import { DecodeError, type MacAddress, macToOctets } from '../../protocols/octets/index.ts';
import { PacketSocket, type ReceivedFrame, type SocketError } from '../raw-socket/index.ts';
import { ETHERTYPES, GROUPS, protocolFilter } from './filter.ts';
import { TokenBucket } from './token-bucket.ts';

export interface LinkOptions {
  interfaceIndex: number;
  mac: MacAddress;
  /** Frames a second that are taken of the peer, and a tenth of it of all others; the rest is counted and dropped. */
  framesPerSecond: number;
  /** What it takes; default: those of all three protocols. */
  etherTypes?: readonly number[];
  /** Addresses of the peer, once they are known: a flood of others does not starve it. */
  peers(): readonly MacAddress[];
  /** Milliseconds, monotonic. */
  now(): number;
  onFrame(frame: EthernetFrame, octets: Uint8Array): void;
  onSent(octets: Uint8Array): void;
  onError(error: SocketError): void;
}

export interface LinkCounters {
  framesReceived: number;
  framesSent: number;
  /** Our own frames come back: the bridge echoes them (STP off and hairpin on), or there is a loop. */
  framesOwnEchoed: number;
  framesOverRate: number;
  framesMalformed: number;
  /** Tagged with a VID; only priority tags are accepted. */
  framesTagged: number;
  framesNotSent: number;
  framesLostByKernel: number;
}

/** Offset of the source address in a frame. */
const SOURCE = 6;

/** Frames of the three protocols in and out of one interface: filtered, bounded in rate, counted. Throws SocketError. */
export class Link {
  readonly #options: LinkOptions;
  readonly #socket: PacketSocket;
  readonly #counters: LinkCounters = {
    framesReceived: 0,
    framesSent: 0,
    framesOwnEchoed: 0,
    framesOverRate: 0,
    framesMalformed: 0,
    framesTagged: 0,
    framesNotSent: 0,
    framesLostByKernel: 0,
  };
  #peers: { macs: readonly MacAddress[]; octets: Uint8Array[] } = { macs: [], octets: [] };
  #ofPeer!: TokenBucket;
  #ofOthers!: TokenBucket;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.limit(options.framesPerSecond);
    this.#socket = new PacketSocket({
      interfaceIndex: options.interfaceIndex,
      filter: protocolFilter(options.mac, options.etherTypes),
      memberships: GROUPS.map(macToOctets),
      onFrames: (frames) => {
        for (const frame of frames) this.#receive(frame);
      },
      onError: (error) => options.onError(error),
    });
  }

  /** Another `framesPerSecond` from now on. */
  limit(framesPerSecond: number): void {
    const now = this.#options.now();
    this.#ofPeer = new TokenBucket(framesPerSecond, now);
    this.#ofOthers = new TokenBucket(Math.ceil(framesPerSecond / 10), now);
  }

  get counters(): LinkCounters {
    this.#counters.framesLostByKernel = this.#socket.statistics().drops;
    return { ...this.#counters };
  }

  /** What the kernel cannot take now is lost and counted: ECP and LLDP send again. */
  send(frame: EthernetFrame): void {
    const octets = encodeFrame(frame);
    try {
      if (octets.length <= FRAME_MAX && this.#socket.send([octets]) === 1) {
        this.#counters.framesSent++;
        this.#options.onSent(octets);
        return;
      }
    } catch (error) {
      this.#options.onError(error as SocketError);
    }
    this.#counters.framesNotSent++;
  }

  close(): void {
    this.#socket.close();
  }

  /**
   * What is too much goes before it is looked at: the less that costs, the fewer of the peer's frames the kernel has no room
   * for.
   */
  #receive({ octets, vlanTci }: ReceivedFrame): void {
    const bucket = this.#isFromPeer(octets) ? this.#ofPeer : this.#ofOthers;
    if (!bucket.take(this.#options.now())) {
      this.#counters.framesOverRate++;
      return;
    }
    let frame: EthernetFrame;
    try {
      frame = decodeFrame(octets);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.#counters.framesMalformed++;
      return;
    }
    const vid = frame.taggedVid ?? (vlanTci === undefined ? 0 : vlanTci & 0xfff);
    if (frame.source === this.#options.mac) this.#counters.framesOwnEchoed++;
    else if (vid !== 0) this.#counters.framesTagged++;
    else if (!ETHERTYPES.includes(frame.etherType)) this.#counters.framesMalformed++;
    else {
      this.#counters.framesReceived++;
      this.#options.onFrame(frame, octets);
    }
  }

  #isFromPeer(octets: Uint8Array): boolean {
    const macs = this.#options.peers();
    if (macs !== this.#peers.macs) this.#peers = { macs, octets: macs.map(macToOctets) };
    return this.#peers.octets.some((wanted) => {
      // The last octets differ first.
      for (let i = wanted.length - 1; i >= 0; i--) if (octets[SOURCE + i] !== wanted[i]) return false;
      return true;
    });
  }
}
