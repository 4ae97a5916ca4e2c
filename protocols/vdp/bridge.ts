import {
  STATUS_ACK,
  STATUS_M_HARD,
  STATUS_S_KEEP,
  VDP_OTHER_FAILURE,
  type VsiTlv,
  vdpErrorName,
} from './codec.ts';
import { sameAttributes, tlvOf, VSI_STATE, type VsiCommand, type VsiState } from './command.ts';
import { VDP_RATIFIED, type VdpDialect } from './dialect.ts';
import type { FilterEntry } from './filter.ts';
import type { VdpTimers } from './timers.ts';

/** SUCCESS, KEEP, DEASSOC, TIMEOUT, PROCESS_KEEPALIVE and DEASSOCIATED are passed through. */
export type VsiBridgeState = 'INIT' | 'BRIDGE_PROCESSING' | 'WAIT_STATION_CMD' | 'END';

/** What the resource layer says of a command. `filters` carries the VIDs it chose. */
export type ResourceResult =
  | { outcome: 'success'; filters: FilterEntry[] }
  | { outcome: 'keep'; error: number }
  | { outcome: 'deassoc'; error: number; hard: boolean };

export type VsiBridgeEffect =
  /** Ask the resource layer; it answers through resource(). A DeAssociate asks it to release. */
  | { kind: 'resource'; command: VsiCommand }
  | { kind: 'send'; tlv: VsiTlv; manager: Uint8Array }
  /** operCmd is in force; `keepalive` when it was already. */
  | { kind: 'confirmed'; command: VsiCommand; keepalive: boolean; reason: string }
  | { kind: 'kept'; command: VsiCommand; reason: string }
  /** The VSI is forgotten; what it held is to be released (again, where the resource layer did so). */
  | { kind: 'ended'; reason: string };

/**
 * VDP bridge machine of one VSI (vdp.md 4; in the draft too, whose bridge has no tables of its own). Times in milliseconds of one
 * monotonic clock.
 */
export class VsiBridge {
  state: VsiBridgeState = 'INIT';
  vsiState: VsiState = 'DeAssoc';
  operCmd: VsiCommand | undefined;
  timers: VdpTimers;
  dialect: VdpDialect;
  /** Status of a DeAssociate that nobody asked for: 0, or STATUS_ACK for stations that expect it (vdp.md 3.1). */
  unsolicited = 0;
  #rxCmd: VsiCommand | undefined;
  #queued: VsiCommand | undefined;
  #deadline = Number.POSITIVE_INFINITY;

  constructor(timers: VdpTimers, dialect = VDP_RATIFIED) {
    this.timers = timers;
    this.dialect = dialect;
  }

  /** A request of the station. While the resource layer works, the latest request waits. */
  request(command: VsiCommand, now: number): VsiBridgeEffect[] {
    switch (this.state) {
      case 'BRIDGE_PROCESSING':
        this.#queued = command;
        return [];
      case 'WAIT_STATION_CMD':
        if (command.request === 'deassociate') return this.#deassociateRequest(command, now);
        if (command.request === this.operCmd!.request && sameAttributes(command, this.operCmd!)) {
          return this.#processKeepAlive(now);
        }
        return this.#process(command, now);
      case 'INIT':
      case 'END':
        if (command.request === 'deassociate') {
          this.state = 'END';
          return [
            { kind: 'send', tlv: tlvOf(command, STATUS_ACK), manager: command.manager },
            { kind: 'ended', reason: 'DeAssociate of a VSI that was not associated' },
          ];
        }
        return this.#process(command, now);
    }
  }

  /** The resource layer's word on the command of the last `resource` effect; too late after resourceWaitDelay. */
  resource(result: ResourceResult, now: number): VsiBridgeEffect[] {
    if (this.state !== 'BRIDGE_PROCESSING') return [];
    const command = this.#rxCmd!;
    if (command.request === 'deassociate') {
      const answer: VsiBridgeEffect = {
        kind: 'send',
        tlv: tlvOf(command, STATUS_ACK),
        manager: command.manager,
      };
      return [answer, ...this.#end('deassociated by the station', now)];
    }
    switch (result.outcome) {
      case 'success': {
        this.operCmd = { ...command, filters: result.filters };
        this.vsiState = VSI_STATE[command.request];
        const reason = `${command.request} granted`;
        return [
          { kind: 'confirmed', command: this.operCmd, keepalive: false, reason },
          this.#answer(this.operCmd, 0),
          ...this.#waitStationCmd(now),
        ];
      }
      case 'keep':
        // Keep says that an earlier command stands; without one it is a refusal.
        if (this.operCmd === undefined || !this.dialect.keeps)
          return this.#refuse(command, result.error, false, now);
        return this.#keep(command, this.operCmd, result.error, now);
      case 'deassoc':
        return this.#refuse(command, result.error, result.hard, now);
    }
  }

  /** The bridge itself removes the VSI: DEASSOCIATED, an unsolicited DeAssociate. */
  remove(reason: string, now: number): VsiBridgeEffect[] {
    const command = this.operCmd ?? this.#rxCmd;
    if (command === undefined) return this.#end(reason, now);
    const tlv = tlvOf({ ...command, request: 'deassociate' }, this.unsolicited);
    return [{ kind: 'send', tlv, manager: command.manager }, ...this.#end(reason, now)];
  }

  /** The station's EVB TLV is lost: nobody is there to be told (vdp.md 4). */
  lost(reason: string, now: number): VsiBridgeEffect[] {
    this.#queued = undefined;
    return this.#end(reason, now);
  }

  /** Continues an association that an earlier run of the daemon left: the station has a whole toutKeepAlive to confirm it. */
  resume(command: VsiCommand, now: number): void {
    this.operCmd = command;
    this.vsiState = VSI_STATE[command.request];
    this.#waitStationCmd(now);
  }

  advance(now: number): VsiBridgeEffect[] {
    if (now < this.#deadline) return [];
    if (this.state === 'WAIT_STATION_CMD') return this.remove('no keepalive within toutKeepAlive', now);
    // BRIDGE_PROCESSING: resourceTimer
    if (this.vsiState === 'Assoc' && this.#rxCmd!.request !== 'deassociate' && this.dialect.keeps) {
      return this.#keep(this.#rxCmd!, this.operCmd!, VDP_OTHER_FAILURE, now);
    }
    return this.remove('no decision within resourceWaitDelay', now);
  }

  nextDeadline(): number {
    return this.#deadline;
  }

  #process(command: VsiCommand, now: number): VsiBridgeEffect[] {
    this.state = 'BRIDGE_PROCESSING';
    this.#rxCmd = command;
    this.#deadline = now + this.timers.resourceWaitDelay;
    return [{ kind: 'resource', command }];
  }

  /** One whose attributes differ from what is in force is confirmed but releases nothing (vdp.md 2.1). */
  #deassociateRequest(command: VsiCommand, now: number): VsiBridgeEffect[] {
    if (sameAttributes(command, this.operCmd!)) return this.#process(command, now);
    return [
      { kind: 'send', tlv: tlvOf(command, STATUS_ACK), manager: command.manager },
      {
        kind: 'kept',
        command: this.operCmd!,
        reason: 'DeAssociate with another type, manager or filter than the association: it stands',
      },
    ];
  }

  #processKeepAlive(now: number): VsiBridgeEffect[] {
    const command = this.operCmd!;
    const reason = 'keepalive';
    return [
      { kind: 'confirmed', command, keepalive: true, reason },
      this.#answer(command, 0),
      ...this.#waitStationCmd(now),
    ];
  }

  #keep(command: VsiCommand, kept: VsiCommand, error: number, now: number): VsiBridgeEffect[] {
    const reason = `${command.request} refused (${vdpErrorName(error)}), the association of before stands`;
    return [
      this.#answer(command, STATUS_S_KEEP | error),
      { kind: 'kept', command: kept, reason },
      ...this.#waitStationCmd(now),
    ];
  }

  /** A refusal goes out under the DeAssociate type, as every known bridge does it (vdp.md 4); the draft repeats the request's. */
  #refuse(command: VsiCommand, error: number, hard: boolean, now: number): VsiBridgeEffect[] {
    const request = this.dialect.keeps ? 'deassociate' : command.request;
    const answer = this.#answer({ ...command, request }, error | (hard ? STATUS_M_HARD : 0));
    return [answer, ...this.#end(`refused: ${vdpErrorName(error)}`, now)];
  }

  #answer(command: VsiCommand, bits: number): VsiBridgeEffect {
    return { kind: 'send', tlv: tlvOf(command, STATUS_ACK | bits), manager: command.manager };
  }

  #waitStationCmd(now: number): VsiBridgeEffect[] {
    this.state = 'WAIT_STATION_CMD';
    this.#deadline = now + this.timers.toutKeepAlive;
    return this.#evaluateQueued(now);
  }

  #end(reason: string, now: number): VsiBridgeEffect[] {
    this.state = 'END';
    this.vsiState = 'DeAssoc';
    this.operCmd = undefined;
    this.#rxCmd = undefined;
    this.#deadline = Number.POSITIVE_INFINITY;
    return [{ kind: 'ended', reason }, ...this.#evaluateQueued(now)];
  }

  #evaluateQueued(now: number): VsiBridgeEffect[] {
    const command = this.#queued;
    this.#queued = undefined;
    return command === undefined ? [] : this.request(command, now);
  }
}
