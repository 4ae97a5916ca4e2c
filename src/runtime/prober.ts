import { randomBytes } from 'node:crypto';
import { type MacAddress, macToOctets } from '../../protocols/octets/index.ts';
import { octetsFilter } from '../link/filter.ts';
import { NONCE_LENGTH, NONCE_OFFSET, throwAwayAddress } from '../probe/frame.ts';
import { Probe, type ProbeOutcome } from '../probe/probe.ts';
import { PacketSocket, type SocketError } from '../raw-socket/index.ts';
import { Alarm, now } from './clock.ts';

/** Octets; more than the copies that a probe counts. */
const RECEIVE_BUFFER = 256 * 1024;

/**
 * One probe under way, on a socket of its own: neither the counters of the protocols nor their rate notice it. The kernel
 * hands over only frames with the probe's nonce, and the interface receives its two addresses for as long as it lasts.
 */
export class Prober {
  readonly addresses: readonly [MacAddress, MacAddress];
  /** Rejects with the Error given to `abort`, or what the socket said. */
  readonly outcome: Promise<ProbeOutcome>;
  readonly #probe: Probe;
  readonly #socket: PacketSocket;
  /** What has arrived while the process did something else is to be heard before the time is found to be up. */
  readonly #alarm = new Alarm(() => setImmediate(() => this.#advance()));
  #ended = false;
  #resolve!: (outcome: ProbeOutcome) => void;
  #reject!: (error: Error) => void;

  /** Throws SocketError. */
  constructor(interfaceIndex: number, own: MacAddress) {
    const nonce = new Uint8Array(randomBytes(NONCE_LENGTH));
    const address = () => throwAwayAddress(new Uint8Array(randomBytes(6)));
    this.addresses = [address(), address()];
    this.#socket = new PacketSocket({
      interfaceIndex,
      filter: octetsFilter(NONCE_OFFSET, nonce),
      memberships: this.addresses.map(macToOctets),
      receiveBuffer: RECEIVE_BUFFER,
      onFrames: (frames) => {
        const at = now();
        for (const { octets, vlanTci } of frames)
          this.#probe.receive(octets, vlanTci === undefined ? undefined : vlanTci & 0xfff, at);
        this.#advance();
      },
      // A link that goes down or away is told by the kernel's events; frames that are lost have not come back.
      onError: () => {},
    });
    this.outcome = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#probe = new Probe({ own, addresses: this.addresses, nonce }, now());
    this.#advance();
  }

  abort(error: Error): void {
    this.#end();
    this.#reject(error);
  }

  #advance(): void {
    if (this.#ended) return;
    const frame = this.#probe.advance(now());
    if (frame !== undefined) {
      try {
        if (this.#socket.send([frame]) === 0) this.#probe.notSent();
      } catch (error) {
        this.abort(error as SocketError);
        return;
      }
    }
    if (this.#probe.done) {
      this.#end();
      this.#resolve(this.#probe.outcome());
    } else this.#alarm.set(this.#probe.nextDeadline());
  }

  #end(): void {
    this.#ended = true;
    this.#alarm.cancel();
    this.#socket.close();
  }
}
