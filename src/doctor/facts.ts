/** What doctor looks at, as plain data: gathered by gather.ts, judged by judge.ts, invented by tests. */

import type { MacAddress } from '../../protocols/octets/index.ts';
import type { Link } from '../../protocols/rtnetlink/index.ts';
import type { Capabilities } from '../capabilities.ts';
import type { Config, PortConfig, UplinkConfig } from '../config/config.ts';
import type { LinkStatus, SlaveStatus, VsiStatus } from '../model.ts';

/** A fact that cannot be had here: one line that says why. */
export interface Unknown {
  unknown: string;
}

export function isUnknown(fact: object): fact is Unknown {
  return 'unknown' in fact;
}

export interface Facts {
  /** As `process.versions.node`. */
  node: string;
  /** As `uname -r`. */
  kernelRelease: string;
  /** How the programs are called here, as words of a shell. */
  programs: { evbctl: string; evbd: string };
  /** Behind a program: the bus that was given, or empty. */
  busOption: string;
  /** evbctl, and doctor, in a command that a mend proposes: with the bus and the file that were given. */
  evbctl: string;
  doctor: string;
  file: string;
  configuration: ConfigurationFact;
  /** systemd knows a unit evbd.service. */
  unit: boolean;
  /** Of the system bus: what lets evbd own its name, and where that is to be had; absent: it is another bus. */
  policy?: { installed: boolean; file?: string };
  /** User id 0. */
  root: boolean;
  /** Of this process. */
  capabilities: Capabilities | Unknown;
  daemon: DaemonFact;
  /** Every interface of our network namespace. */
  interfaces: { links: readonly Link[] } | Unknown;
  /** What is looked at: the links of configuration and daemon, or the one that was asked for. */
  links: readonly LinkFacts[];
}

export type ConfigurationFact =
  | { config: Config }
  /** FILE:LINE:COLUMN: what, as `evbd --check` says it. */
  | { problems: readonly string[] }
  | { missing: true }
  | Unknown;

export type DaemonFact =
  | {
      running: true;
      pid?: number;
      version: string;
      /** Of the bus, for people. */
      bus: string;
      /** It is in another network namespace than we are. */
      elsewhere: boolean;
      capabilities: Capabilities | Unknown;
      /** Seconds since it started. */
      age?: number;
      /** Of its command line, absolute. */
      file?: string;
      /** It is of another user than root, evbd and who asks: nothing that it says is to be pasted. */
      foreign?: true;
      links: readonly LinkStatus[];
      vsis: readonly VsiStatus[];
    }
  | {
      running: false;
      /** One line: what was tried, and behind `; ` what would mend it. */
      reason: string;
      /** A process in our network namespace that is evbd all the same. */
      process?: { pid: number; bus: string };
      /** A process that calls itself evbd, of a user who does not run it. */
      stranger?: number;
    };

export interface LinkFacts {
  name: string;
  role: 'station' | 'bridge';
  /** In the file; else only the daemon knows it, or the user asked for it. */
  configured: boolean;
  uplink?: UplinkConfig;
  port?: PortConfig;
  /** The daemon's view. */
  status?: LinkStatus;
  /** The kernel's view; absent: there is no such interface, or it is not known. */
  link?: Link;
  /** The bridge, bond or the like that it is in. */
  master?: Link;
  /** Names of the master's other members that are up. */
  siblings: readonly string[];
  /** Of the hardware; absent: virtual, or not to be told. */
  driver?: string;
  firmware: Firmware;
  /** Group addresses that the interface receives. */
  groups: { addresses: readonly string[] } | Unknown;
  ipv6: Ipv6 | Unknown;
  agents: { found: readonly Agent[] } | Unknown;
  /** On top of it, in every namespace where the daemon tells, else in ours. */
  slaves: readonly SlaveStatus[];
  /** What was listened to without the daemon. */
  heard?: Heard;
}

/** Whether the card itself takes LLDP frames: `none` of the cards known for it. */
export type Firmware = { agent: 'none' | 'on' | 'off' } | Unknown;

export interface Ipv6 {
  enabled: boolean;
  enhancedDad: boolean;
  /** An address of the interface whose duplicate address detection has failed. */
  duplicate: boolean;
}

/** Another program that speaks or hears the protocols on the interface. */
export interface Agent {
  program: 'lldpad' | 'lldpd' | 'systemd-networkd' | 'evbd' | 'other' | 'stranger';
  /** Of the process; of a stranger, what it passes for. */
  name: string;
  pid?: number;
  /** LLDPDUs to the group address that EVB uses; absent: not to be told. */
  transmits?: boolean;
  /** It also takes ECP, and so may speak VDP. */
  ecp: boolean;
  /** The file that says so. */
  file?: string;
}

export interface Heard {
  seconds: number;
  /** Why nothing could be listened to. */
  failure?: string;
  lldpdus: readonly HeardLldpdu[];
}

export interface HeardLldpdu {
  source: MacAddress;
  destination: MacAddress;
  systemName?: string;
  /** Of its EVB TLV; absent: it has none. */
  evb?: 'bridge' | 'station' | 'draft';
  /** The bridge can reflect. */
  relay?: boolean;
}
