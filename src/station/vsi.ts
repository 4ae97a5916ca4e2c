import {
  type FilterEntry,
  sameAttributes,
  type VdpDialect,
  type VdpTimers,
  type VsiCommand,
  VsiStation,
  vsiName,
} from '../../protocols/vdp/index.ts';
import type { VsiState } from '../model.ts';
import { History } from '../port/history.ts';

/** dbus, libvirt, or rule:N (the number of the rule in the configuration, from 1). */
export type Owner = string;

export function isRule(owner: Owner): boolean {
  return owner.startsWith('rule:');
}

/** Who asks for the same as somebody of a lower rank takes it over. */
export function outranks(owner: Owner, other: Owner): boolean {
  return rank(owner) > rank(other);
}

/** Whether `owner` may ask for something else with a VSI of `other`. One rule does for another: the slave or the rules have changed. */
export function mayTakeOver(owner: Owner, other: Owner): boolean {
  return owner === other || outranks(owner, other) || (isRule(owner) && isRule(other));
}

function rank(owner: Owner): number {
  return isRule(owner) ? 0 : owner === 'libvirt' ? 2 : 1;
}

/**
 * Whether two entries are the same pair to their owners. Who asks twice means two VSIs unless all is equal: a VID of 0 leaves the
 * choice to the bridge. Owners of different rank speak of one guest when its MAC is the same and its VID may be.
 */
export function samePair(entry: FilterEntry, owner: Owner, other: FilterEntry, otherOwner: Owner): boolean {
  if (entry.mac !== other.mac) return false;
  if (entry.mac === undefined || rank(owner) === rank(otherOwner))
    return entry.vid === other.vid && entry.group === other.group;
  return entry.vid === other.vid || entry.vid === 0 || other.vid === 0;
}

/** A VSI of an uplink: what its owner wants, and where its machine stands. */
export class StationVsi {
  readonly key: string;
  readonly machine: VsiStation;
  readonly history = new History();
  owner: Owner;
  profile = '';
  /** What the owner asks for; undefined once it is given up, refused for good, or being deassociated. */
  wanted: VsiCommand | undefined;
  /** The bridge refused it; shown for a while. */
  failed = false;
  /** Time of the next attempt when the machine is in INIT and the VSI is wanted. */
  retryAt = Number.POSITIVE_INFINITY;
  attempts = 0;
  /** In force, but the bridge that confirmed it is not there now. */
  unconfirmed = false;
  /** Calls that wait for what is wanted. */
  tickets: number[] = [];
  #last: VsiCommand;

  constructor(key: string, command: VsiCommand, owner: Owner, timers: VdpTimers, dialect: VdpDialect) {
    this.key = key;
    this.machine = new VsiStation(timers, dialect);
    this.owner = owner;
    this.#last = command;
  }

  get id(): string {
    return vsiName(this.#last);
  }

  /** What is in force, else what is asked for, else what was. */
  get command(): VsiCommand {
    return this.machine.operCmd ?? this.wanted ?? this.#last;
  }

  get state(): VsiState {
    const { machine } = this;
    switch (machine.state) {
      case 'INIT':
        if (this.wanted !== undefined)
          return this.wanted.request === 'associate' ? 'associating' : 'preassociating';
        return this.failed ? 'failed' : 'deassociated';
      case 'STATION_PROCESSING': {
        const { request } = machine.sysCmd!;
        if (request === 'deassociate') return 'deassociating';
        return request === 'associate' ? 'associating' : 'preassociating';
      }
      case 'TRANSMIT_DEASSOC':
        return 'deassociating';
      default:
        if (machine.vsiState === 'Assoc') return 'associated';
        return machine.vsiState === 'PreAssoc' ? 'preassociated' : 'reserved';
    }
  }

  /** `command` is what the owner wants at present. */
  asks(command: VsiCommand): boolean {
    return this.wanted?.request === command.request && sameAttributes(this.wanted, command);
  }

  /** It is over on our side, whatever the machine waits for. */
  end(): void {
    this.#last = this.command;
    this.wanted = undefined;
    this.machine.reset();
  }

  /** Notes where the VSI stands now and why; true when that is news. */
  show(reason: string, now: number): boolean {
    if (this.wanted !== undefined) {
      this.#last = this.wanted;
      this.failed = false;
    }
    return this.history.note(this.state, reason, now);
  }
}
