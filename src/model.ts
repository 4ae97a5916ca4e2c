/**
 * What the daemon tells and takes: the shapes that D-Bus, evbctl and the hooks are adapters of. Times of day are
 * microseconds since the epoch (as systemd's D-Bus properties), durations given by users are milliseconds.
 */

export type Role = 'station' | 'bridge';
export type DialectName = 'ratified' | 'draft';
export type RelayState = 'off' | 'requested' | 'active' | 'refused' | 'no-peer' | 'assumed';
/** Whether the Linux bridge of a port forwards EVB frames between it and other ports; `stopped`: it would, evbd keeps it from that. */
export type LeakState = 'none' | 'stopped' | 'open';
export type VsiState =
  | 'deassociated'
  | 'preassociating'
  | 'preassociated'
  | 'reserved'
  | 'associating'
  | 'associated'
  | 'deassociating'
  | 'failed';

export interface LinkStatus {
  name: string;
  role: Role;
  /** Empty while the interface does not exist. */
  mac: string;
  /** Dialect that is spoken with the EVB peer. */
  protocol: DialectName | 'none';
  relay: RelayState;
  relayReason: string;
  leak: LeakState;
  /** Empty where nothing leaks. */
  leakReason: string;
  /** Of a bond: the interfaces that carry its frames. */
  members: string[];
  /** The adjacent EVB peer as heard in LLDP; empty when there is none. */
  peer: Record<string, string | number | boolean>;
  /** Operational values in seconds, by the standard's names (ackTimer, respWaitDelay, ...). */
  timers: Record<string, number>;
  counters: Record<string, number>;
  /** macvlan and ipvlan interfaces on top of an uplink, in every namespace. */
  slaves: SlaveStatus[];
}

export interface SlaveStatus {
  name: string;
  kind: string;
  mode: string;
  mac: string;
  /** Of the VLAN device that it stands on; 0: none. */
  vlan: number;
  /** Id of its network namespace as `ip netns list-id` shows it; -1: ours. */
  namespace: number;
  /** Id of the VSI that it stands for by a rule, or empty. */
  vsi: string;
  /** Why it has no VSI, or what is to be known of it. */
  reason: string;
}

export interface Filter {
  mac?: string;
  /** 0: the bridge chooses. */
  vid: number;
  group?: number;
  pcp?: number;
}

export interface HistoryEntry {
  /** Microseconds since the epoch. */
  time: number;
  state: VsiState;
  reason: string;
}

export interface VsiStatus {
  id: string;
  link: string;
  state: VsiState;
  /** 32 hex digits, as on the wire. */
  manager: string;
  type: number;
  typeVersion: number;
  /** Name of the configured profile, or empty. */
  profile: string;
  /** With the VIDs that the bridge assigned. */
  filters: Filter[];
  hint: 'none' | 'from' | 'to';
  /** dbus, libvirt, rule:N on a station; peer on a bridge. */
  owner: string;
  reason: string;
  /** Microseconds since the epoch at which `state` was entered. */
  since: number;
  history: HistoryEntry[];
}

/** What a user asks for; either `filters` or `mac`/`vlan`/`group`/`pcp`, either `profile` or the three numbers. */
export interface VsiRequest {
  id?: string;
  idFormat?: 'uuid' | 'ipv4' | 'ipv6' | 'mac' | 'local';
  mac?: string;
  vlan?: number;
  group?: number;
  pcp?: number;
  filters?: Filter[];
  profile?: string;
  manager?: string;
  type?: number;
  typeVersion?: number;
  hint?: 'none' | 'from' | 'to';
  /** Milliseconds; default 20,000. */
  timeout?: number;
}

/** What became of test frames that were sent out of an uplink (docs/probe.md). */
export interface ProbeReport {
  link: string;
  /** Test frames come back. */
  reflects: boolean;
  /** Only those from the uplink's own address do: the bridge lets unknown addresses not in. */
  enforced: boolean;
  /** As it is at the end of the probe. */
  relay: RelayState;
  /** Test frames of the round that the answer rests on; of both when none came back. */
  sent: number;
  received: number;
  /** What came back after a frame had come back already. */
  duplicates: number;
  /** VID of the tag with which a frame came back; 0: without. */
  vlan: number;
  /** The throw-away addresses between which the frames went. */
  addresses: string[];
  /** From sending to the first return, seconds; absent when nothing came back. */
  latencyMin?: number;
  latencyMedian?: number;
  latencyMax?: number;
}

export type ErrorName =
  | 'Refused'
  | 'Timeout'
  | 'NoSuchLink'
  | 'NoSuchVsi'
  | 'NotReady'
  | 'Conflict'
  | 'InvalidArgument';

/** A failure that is the user's to see: `message` is one line that says what, where and how to mend it. */
export class EvbError extends Error {
  override readonly name: ErrorName;

  constructor(name: ErrorName, message: string) {
    super(message);
    this.name = name;
  }
}

export interface DaemonEvents {
  linkAdded(link: LinkStatus): void;
  linkChanged(link: LinkStatus): void;
  linkRemoved(name: string): void;
  vsiAdded(vsi: VsiStatus): void;
  vsiChanged(vsi: VsiStatus): void;
  vsiRemoved(vsi: VsiStatus): void;
  /** A frame of the three protocols; `time` in seconds since the epoch. */
  frame(link: string, time: number, sent: boolean, octets: Uint8Array): void;
}

/** The daemon as its adapters see it. Methods reject with EvbError only. */
export interface Daemon {
  readonly version: string;
  links(): LinkStatus[];
  vsis(): VsiStatus[];
  associate(link: string, request: VsiRequest): Promise<VsiStatus>;
  preassociate(link: string, request: VsiRequest, reserve: boolean): Promise<VsiStatus>;
  /** `id`: a VSI's id, or LINK/ID. */
  deassociate(id: string): Promise<void>;
  release(link: string): Promise<void>;
  probe(link: string): Promise<ProbeReport>;
  /** What changed, one line each. */
  reload(): Promise<string[]>;
  on<E extends keyof DaemonEvents>(event: E, listener: DaemonEvents[E]): void;
  off<E extends keyof DaemonEvents>(event: E, listener: DaemonEvents[E]): void;
}
