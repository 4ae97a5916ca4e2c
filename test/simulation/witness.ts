import { type EcpPdu, EcpReceiver } from '../../protocols/ecp/index.ts';
import { EvbDraft, EvbStation } from '../../protocols/evb/index.ts';
import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  sameAttributes,
  VsiBridge,
  type VsiCommand,
  type VsiTlv,
  vsiName,
} from '../../protocols/vdp/index.ts';
import { fail } from './violation.ts';

/** A call of a machine, when it has returned. */
export interface Call {
  machine: object;
  method: string;
  args: readonly unknown[];
  effects: readonly Effect[];
}

export interface Effect {
  kind: string;
  ulpdu?: Uint8Array;
  tlv?: VsiTlv;
  manager?: Uint8Array;
}

/** What the witness passes on of what the machines were heard to do. */
export interface Audience {
  peerRestarted(evb: object): void;
  /** ECP hands this to VDP, at the host whose frame is being read. */
  indicated(ulpdu: Uint8Array): void;
}

/**
 * What can only be seen inside: what a receiver passes on and what it does not, what a bridge owes an answer. Each machine is
 * remembered by itself.
 */
export class Witness {
  readonly #audience: Audience;
  readonly #heard = new WeakMap<EcpReceiver, { sequence: number; source: MacAddress; at: number }>();
  readonly #owed = new WeakMap<VsiBridge, VsiCommand>();

  constructor(audience: Audience) {
    this.#audience = audience;
  }

  saw(call: Call): void {
    const { machine } = call;
    if (machine instanceof EcpReceiver) this.#receiver(machine, call);
    else if (machine instanceof VsiBridge) this.#bridge(machine, call);
    else if (machine instanceof EvbStation || machine instanceof EvbDraft) {
      if (call.effects.some(({ kind }) => kind === 'peerRestarted')) this.#audience.peerRestarted(machine);
    }
  }

  /** Each ECPDU is handed to VDP once, however often its peer had to say it; what is acknowledged is handed to VDP. */
  #receiver(machine: EcpReceiver, { method, args, effects }: Call): void {
    if (method === 'reset') this.#heard.delete(machine);
    if (method !== 'request') return;
    const [{ sequence }, source, now] = args as [EcpPdu, MacAddress, number];
    const { maxRetries, ackTimer } = machine.timing;
    const last = this.#heard.get(machine);
    const underWay = last !== undefined && now <= last.at + (maxRetries + 1) * ackTimer;
    const again = underWay && last.sequence === sequence && last.source === source;
    if (again && effects.length > 0) last.at = now;
    const indicated = effects.find(({ kind }) => kind === 'indicate');
    if (indicated !== undefined) {
      if (again) fail(undefined, `ECPDU ${sequence} of ${source} is handed to VDP twice`);
      this.#heard.set(machine, { sequence, source, at: now });
      this.#audience.indicated(indicated.ulpdu!);
    } else if (effects.length > 0 && !again)
      fail(undefined, `ECPDU ${sequence} of ${source} is acknowledged, VDP is not told`);
  }

  /** Where a bridge comes to rest it has answered the last request. */
  #bridge(machine: VsiBridge, { method, args, effects }: Call): void {
    if (method === 'request') this.#owed.set(machine, args[0] as VsiCommand);
    const owed = this.#owed.get(machine);
    if (owed === undefined) return;
    const answered = effects.some(
      ({ kind, tlv, manager }) =>
        kind === 'send' &&
        (tlv!.request === owed.request || tlv!.request === 'deassociate') &&
        sameAttributes(owed, { ...tlv!, manager: manager! }),
    );
    if (answered || machine.state === 'END') this.#owed.delete(machine);
    else if (machine.state === 'WAIT_STATION_CMD')
      fail(undefined, `the bridge rests and has not answered ${owed.request} of ${vsiName(owed)}`);
  }
}
