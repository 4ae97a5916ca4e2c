import { decodeFrame, type EthernetFrame, encodeFrame, FRAME_MAX } from '../../protocols/ethernet/index.ts';
import { DecodeError, type MacAddress, macToOctets } from '../../protocols/octets/index.ts';
import { PacketSocket, type ReceivedFrame, type SocketError } from '../raw-socket/index.ts';
import { ETHERTYPES, GROUPS, protocolFilter } from './filter.ts';

export interface LinkOptions {
  interfaceIndex: number;
  mac: MacAddress;
  /** Frames a second that are taken; the rest is counted and dropped. */
  framesPerSecond: number;
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
  #tokens: number;
  #refilled: number;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#tokens = options.framesPerSecond;
    this.#refilled = options.now();
    this.#socket = new PacketSocket({
      interfaceIndex: options.interfaceIndex,
      filter: protocolFilter(options.mac),
      memberships: GROUPS.map(macToOctets),
      onFrames: (frames) => {
        for (const frame of frames) this.#receive(frame);
      },
      onError: (error) => options.onError(error),
    });
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

  #receive({ octets, vlanTci }: ReceivedFrame): void {
    if (!this.#withinRate()) {
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

  /** Token bucket of one second's frames. */
  #withinRate(): boolean {
    const now = this.#options.now();
    const { framesPerSecond } = this.#options;
    this.#tokens = Math.min(
      framesPerSecond,
      this.#tokens + ((now - this.#refilled) * framesPerSecond) / 1000,
    );
    this.#refilled = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
