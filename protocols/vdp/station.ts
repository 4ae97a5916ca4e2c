import { decodeStatus, type VsiStatusField, type VsiTlv } from './codec.ts';
import { commandOf, sameAttributes, VSI_STATE, type VsiCommand, type VsiState } from './command.ts';
import { VDP_RATIFIED, type VdpDialect } from './dialect.ts';
import { filtersMatch, withAssignedVids } from './filter.ts';
import type { VdpTimers } from './timers.ts';

/** PREASSOC_NEW, ASSOC_NEW and ASSOC_COMPLETE are passed through on the way to WAIT_SYSTEM_CMD. */
export type VsiStationState =
  | 'INIT'
  | 'STATION_PROCESSING'
  | 'WAIT_SYSTEM_CMD'
  | 'TRANSMIT_KEEPALIVE'
  | 'TRANSMIT_DEASSOC';

/** Why a VSI went back to INIT. */
export type VsiEnd =
  /** The user's DeAssociate was answered, or nothing had been associated. */
  | 'asked'
  /** The bridge refused the request with an error. */
  | 'refused'
  /** The bridge deassociated it without being asked. */
  | 'bridge'
  /** No answer within respWaitDelay. */
  | 'timeout'
  /** The bridge answered something else than what was asked. */
  | 'mismatch';

export type VsiStationEffect =
  /** Hand this TLV to ECP; a later one for the same VSI replaces one that still waits. */
  | { kind: 'send'; command: VsiCommand }
  /** The bridge confirmed `operCmd`; `keepalive` when that was known already. */
  | { kind: 'confirmed'; command: VsiCommand; keepalive: boolean; reason: string }
  /** The new command failed, the association of before stands (Keep). */
  | { kind: 'kept'; command: VsiCommand; status: VsiStatusField; reason: string }
  | { kind: 'ended'; end: VsiEnd; status?: VsiStatusField; reason: string };

/** VDP station machine of one VSI (vdp.md 3 and 5.3). Times in milliseconds of one monotonic clock. */
export class VsiStation {
  state: VsiStationState = 'INIT';
  vsiState: VsiState = 'DeAssoc';
  /** Last command that the bridge accepted, with the VIDs it assigned. */
  operCmd: VsiCommand | undefined;
  /** What is being asked in STATION_PROCESSING. */
  sysCmd: VsiCommand | undefined;
  /** Operational values; a change applies from the next start of a timer on. */
  timers: VdpTimers;
  dialect: VdpDialect;
  #queued: VsiCommand | undefined;
  #deassociateUnanswered = false;
  #waitWhile = Number.POSITIVE_INFINITY;

  constructor(timers: VdpTimers, dialect = VDP_RATIFIED) {
    this.timers = timers;
    this.dialect = dialect;
  }

  /** A new system command. While an answer is awaited it is kept and evaluated afterwards; only the latest counts. */
  command(command: VsiCommand, now: number): VsiStationEffect[] {
    if (this.state === 'WAIT_SYSTEM_CMD' || this.state === 'INIT') return this.#begin(command, now);
    // What is under way already is not asked twice; it only takes the place of what was to follow it.
    const underWay = this.state === 'STATION_PROCESSING' ? this.sysCmd : this.operCmd;
    const same = this.state !== 'TRANSMIT_DEASSOC' && sameCommand(command, underWay!);
    this.#queued = same ? undefined : command;
    return [];
  }

  /** The bridge has confirmed this command, and nothing else is under way. */
  holds(command: VsiCommand): boolean {
    const atRest = this.state === 'WAIT_SYSTEM_CMD' || this.state === 'TRANSMIT_KEEPALIVE';
    return atRest && this.#queued === undefined && sameCommand(command, this.operCmd!);
  }

  /** Continues an association that an earlier run of the daemon left: the first keepalive is due at once. */
  resume(command: VsiCommand, now: number): void {
    this.operCmd = command;
    this.vsiState = VSI_STATE[command.request];
    this.#enter('WAIT_SYSTEM_CMD', now);
  }

  /** What was asked and is not answered yet; undefined when nothing is. */
  get awaiting(): VsiCommand | undefined {
    return this.state === 'INIT' || this.state === 'WAIT_SYSTEM_CMD' ? undefined : this.#asked();
  }

  /** INIT without a word to anybody: there is no bridge to be told. */
  reset(): void {
    this.#queued = undefined;
    this.operCmd = undefined;
    this.sysCmd = undefined;
    this.vsiState = 'DeAssoc';
    this.#enter('INIT', Number.POSITIVE_INFINITY);
  }

  /**
   * The bridge may have lost its state, or our last PDU went with a link that fell: whatever is in force or under way is asked
   * again at once instead of at the next keepalive (evb-tlv.md 1.8).
   */
  refresh(now: number): VsiStationEffect[] {
    switch (this.state) {
      case 'WAIT_SYSTEM_CMD':
        return this.#keepAlive(now);
      case 'INIT':
        return [];
      default:
        this.#enter(this.state, now + this.timers.respWaitDelay);
        return [{ kind: 'send', command: this.#asked() }];
    }
  }

  /** A VSI TLV of the bridge whose identity is this VSI. Anything that is not an answer or a DeAssociate is dropped. */
  receive(tlv: VsiTlv, manager: Uint8Array, now: number): VsiStationEffect[] {
    const status = decodeStatus(tlv.status);
    if (!status.ack && tlv.request !== 'deassociate') return [];
    if (tlv.request === 'deassociate' && this.#isOfAnother(tlv, manager, status)) return [];
    switch (this.state) {
      case 'INIT':
        return [];
      case 'WAIT_SYSTEM_CMD':
        if (tlv.request !== 'deassociate') return [];
        return this.#init('bridge', 'the bridge deassociated the VSI', now, status);
      case 'STATION_PROCESSING':
        return this.#processingResponse(tlv, manager, status, now);
      case 'TRANSMIT_KEEPALIVE':
        return this.#keepAliveResponse(tlv, manager, status, now);
      case 'TRANSMIT_DEASSOC':
        return this.#init('refused', 'the bridge refused the keepalive; deassociated', now, status);
    }
  }

  /**
   * A DeAssociate that is not about what this machine does now: the answer to one that it sent without waiting, or the late
   * word of a bridge that still held the VSI with other attributes (vdp.md 4.1, row 2 and 5).
   */
  #isOfAnother(tlv: VsiTlv, manager: Uint8Array, status: VsiStatusField): boolean {
    if (
      this.#deassociateUnanswered &&
      status.ack &&
      status.error === 0 &&
      this.sysCmd?.request !== 'deassociate'
    ) {
      this.#deassociateUnanswered = false;
      return true;
    }
    const holds = this.state === 'WAIT_SYSTEM_CMD' || this.state === 'TRANSMIT_KEEPALIVE';
    return holds && !status.ack && !sameAttributes(this.operCmd!, commandOf(tlv, manager));
  }

  advance(now: number): VsiStationEffect[] {
    if (now < this.#waitWhile) return [];
    switch (this.state) {
      case 'WAIT_SYSTEM_CMD':
        return this.#keepAlive(now);
      case 'STATION_PROCESSING':
        return this.sysCmd!.request === 'deassociate'
          ? this.#init('asked', 'deassociated without an answer of the bridge', now)
          : this.#init('timeout', 'no answer of the bridge within respWaitDelay', now);
      case 'TRANSMIT_KEEPALIVE':
        return this.#init('timeout', 'the bridge no longer answers keepalives', now);
      case 'TRANSMIT_DEASSOC':
        return this.#init(
          'refused',
          'the bridge refused the keepalive and did not answer the DeAssociate',
          now,
        );
      case 'INIT':
        return [];
    }
  }

  nextDeadline(): number {
    return this.#waitWhile;
  }

  #begin(command: VsiCommand, now: number): VsiStationEffect[] {
    if (command.request === 'deassociate') {
      if (this.state === 'INIT') return [{ kind: 'ended', end: 'asked', reason: 'nothing was associated' }];
      this.sysCmd = { ...this.operCmd!, request: 'deassociate', hint: 'none' };
    } else {
      // VIDs once assigned are repeated verbatim (vdp.md 1.5).
      const known = this.operCmd?.filters ?? [];
      this.sysCmd = { ...command, filters: withAssignedVids(command.filters, known) };
    }
    this.#enter('STATION_PROCESSING', now + this.timers.respWaitDelay);
    return [{ kind: 'send', command: this.sysCmd }];
  }

  #processingResponse(
    tlv: VsiTlv,
    manager: Uint8Array,
    status: VsiStatusField,
    now: number,
  ): VsiStationEffect[] {
    const asked = this.sysCmd!;
    if (tlv.request === 'deassociate') {
      if (asked.request === 'deassociate') return this.#init('asked', 'deassociated', now, status);
      // Without an error code too it is a rejection (a bridge whose resource layer ran out of time, vdp.md 4).
      const reason =
        status.error !== 0
          ? this.#refusal(status)
          : 'the bridge deassociated the VSI instead of confirming it';
      return this.#init('refused', reason, now, status);
    }
    if (tlv.request !== asked.request) {
      return this.#init('mismatch', `the bridge answered ${tlv.request} to ${asked.request}`, now, status);
    }
    if (status.error !== 0) {
      if (tlv.request !== 'associate' || !status.keep)
        return this.#init('refused', this.#refusal(status), now, status);
      if (this.vsiState === 'Assoc') {
        const kept: VsiStationEffect = {
          kind: 'kept',
          command: this.operCmd!,
          status,
          reason: `${this.#refusal(status)}; the association of before stands`,
        };
        return [kept, ...this.#waitSystemCmd(now)];
      }
      // The bridge kept an association that we do not hold: end it, or both sides differ until toutKeepAlive.
      return [this.#deassociateUnheard(asked), ...this.#init('refused', this.#refusal(status), now, status)];
    }
    if (!sameAttributes(asked, commandOf(tlv, manager))) {
      const reason = 'the bridge confirmed another type, manager or filter than asked';
      return [this.#deassociateUnheard(asked), ...this.#init('mismatch', reason, now, status)];
    }
    // PREASSOC_NEW or ASSOC_NEW, ASSOC_COMPLETE
    this.operCmd = { ...asked, filters: tlv.filters };
    this.vsiState = VSI_STATE[asked.request];
    const reason = 'confirmed by the bridge';
    const confirmed: VsiStationEffect = {
      kind: 'confirmed',
      command: this.operCmd,
      keepalive: false,
      reason,
    };
    return [confirmed, ...this.#waitSystemCmd(now)];
  }

  #keepAliveResponse(
    tlv: VsiTlv,
    manager: Uint8Array,
    status: VsiStatusField,
    now: number,
  ): VsiStationEffect[] {
    const asked = this.operCmd!;
    if (tlv.request === 'deassociate') {
      return status.error !== 0
        ? this.#init('refused', this.#refusal(status), now, status)
        : this.#init('bridge', 'the bridge deassociated the VSI', now, status);
    }
    if (tlv.request !== asked.request) {
      return this.#init('mismatch', `the bridge answered ${tlv.request} to a keepalive`, now, status);
    }
    if (status.error !== 0) {
      if (tlv.request !== 'associate' || !status.keep)
        return this.#init('refused', this.#refusal(status), now, status);
      this.#enter('TRANSMIT_DEASSOC', now + this.timers.respWaitDelay);
      return [this.#deassociate(asked)];
    }
    if (!sameAttributes(asked, commandOf(tlv, manager))) {
      const reason = 'the bridge confirmed another type, manager or filter than asked';
      return [this.#deassociateUnheard(asked), ...this.#init('mismatch', reason, now, status)];
    }
    this.operCmd = { ...asked, filters: tlv.filters };
    const reason = 'keepalive answered';
    // A VID that had been left open and comes only now is news.
    const keepalive = filtersMatch(tlv.filters, asked.filters);
    const confirmed: VsiStationEffect = { kind: 'confirmed', command: this.operCmd, keepalive, reason };
    return [confirmed, ...this.#waitSystemCmd(now)];
  }

  #keepAlive(now: number): VsiStationEffect[] {
    this.#enter('TRANSMIT_KEEPALIVE', now + this.timers.respWaitDelay);
    return [{ kind: 'send', command: this.operCmd! }];
  }

  #waitSystemCmd(now: number): VsiStationEffect[] {
    this.sysCmd = undefined;
    this.#enter('WAIT_SYSTEM_CMD', now + this.timers.reinitKeepAlive);
    return this.#evaluateQueued(now);
  }

  #init(end: VsiEnd, reason: string, now: number, status?: VsiStatusField): VsiStationEffect[] {
    this.vsiState = 'DeAssoc';
    this.operCmd = undefined;
    this.sysCmd = undefined;
    this.#enter('INIT', Number.POSITIVE_INFINITY);
    const ended: VsiStationEffect = { kind: 'ended', end, reason };
    if (status !== undefined) ended.status = status;
    return [ended, ...this.#evaluateQueued(now)];
  }

  #evaluateQueued(now: number): VsiStationEffect[] {
    const command = this.#queued;
    this.#queued = undefined;
    return command === undefined ? [] : this.#begin(command, now);
  }

  /** As below, and on to the next command without waiting for the answer. */
  #deassociateUnheard(command: VsiCommand): VsiStationEffect {
    this.#deassociateUnanswered = true;
    return this.#deassociate(command);
  }

  #deassociate(command: VsiCommand): VsiStationEffect {
    return { kind: 'send', command: { ...command, request: 'deassociate', hint: 'none' } };
  }

  #refusal(status: VsiStatusField): string {
    return `the bridge refused: ${this.dialect.errorName(status.error)}${status.hard ? ' (hard error)' : ''}`;
  }

  /** What the machine last sent in a state that awaits an answer. */
  #asked(): VsiCommand {
    if (this.state === 'STATION_PROCESSING') return this.sysCmd!;
    if (this.state === 'TRANSMIT_DEASSOC') return { ...this.operCmd!, request: 'deassociate', hint: 'none' };
    return this.operCmd!;
  }

  #enter(state: VsiStationState, waitWhile: number): void {
    this.state = state;
    this.#waitWhile = waitWhile;
  }
}

function sameCommand(command: VsiCommand, other: VsiCommand): boolean {
  if (command.request !== other.request) return false;
  return command.request === 'deassociate' || sameAttributes(command, other);
}
