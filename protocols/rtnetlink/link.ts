import { type MacAddress, macFromOctets } from '../octets/index.ts';
import { Attributes, HostWriter } from './attributes.ts';
import * as k from './constants.ts';
import type { NetlinkMessage } from './message.ts';

const MACVLAN_MODES = { private: 1, vepa: 2, bridge: 4, passthru: 8, source: 16 } as const;
const IPVLAN_MODES = ['l2', 'l3', 'l3s'] as const;
/** IPVLAN_F_PRIVATE and IPVLAN_F_VEPA; neither is `bridge`. */
const IPVLAN_ISOLATIONS = ['bridge', 'private', 'vepa'] as const;
const VLAN_PROTOCOLS: Readonly<Record<number, VlanTag['protocol']>> = { 33024: '802.1q', 34984: '802.1ad' };
const OPER_STATES = ['unknown', 'notpresent', 'down', 'lowerlayerdown', 'testing', 'dormant', 'up'] as const;
const VID_MAX = 0xfff;
const PORT_STATES = ['disabled', 'listening', 'learning', 'forwarding', 'blocking'] as const;

export type MacvlanMode = keyof typeof MACVLAN_MODES;
export type OperState = (typeof OPER_STATES)[number];
export type PortState = (typeof PORT_STATES)[number];

/** Of an ipvlan or ipvtap, in iproute2's words. */
export interface IpvlanModes {
  mode: (typeof IPVLAN_MODES)[number];
  isolation: (typeof IPVLAN_ISOLATIONS)[number];
}

/** Of a VLAN device. */
export interface VlanTag {
  id: number;
  protocol: '802.1q' | '802.1ad';
}

/** A network interface as the kernel tells it. Words are those of `ip -d link` and `bridge -d link`. */
export interface Link {
  index: number;
  name: string;
  /** Absent where the hardware address is not six octets. */
  mac?: MacAddress;
  mtu: number;
  /** IFF_UP: switched on by the administrator. */
  up: boolean;
  /** IFF_RUNNING: up and operational; the kernel may report it up to a second late. */
  running: boolean;
  /** IFF_LOWER_UP: up and with carrier. */
  lowerUp: boolean;
  operState?: OperState;
  /** Index of the bridge or bond that it is a port of. */
  master?: number;
  /** Index of the lower device (macvlan, VLAN) or of the other end (veth), in `linkNamespaceId` if that is given. */
  parent?: number;
  linkNamespaceId?: number;
  kind?: string;
  /** Of a macvlan or macvtap. */
  macvlanMode?: MacvlanMode;
  ipvlan?: IpvlanModes;
  vlan?: VlanTag;
  /** Present when it is a port of a bridge. */
  bridgePort?: BridgePortState;
  /** VLANs of a bridge's port, in order; absent until an event has told them, which no table does. */
  vids?: readonly number[];
  /** Present when it is a member of a bond or team. */
  member?: AggregateMember;
  /** Present when it is a bridge. */
  bridge?: BridgeState;
}

export interface AggregateMember {
  of: 'bond' | 'team';
  /** It carries the aggregate's frames; absent for a team, which does not say. */
  active?: boolean;
}

export interface BridgePortState {
  state: PortState;
  hairpin: boolean;
  learning: boolean;
  flood: boolean;
  mcastFlood: boolean;
  bcastFlood: boolean;
  guard: boolean;
  rootBlock: boolean;
  isolated: boolean;
  neighSuppress: boolean;
  proxyArp: boolean;
  /** Link-local group addresses forwarded in spite of the standard; bit n is 01:80:c2:00:00:0n. */
  groupForwardMask: number;
  /** Absent: this kernel has no locked ports. */
  locked?: boolean;
}

export interface BridgeState {
  stpState: number;
  vlanFiltering: boolean;
  /** Of the tags that it goes by; absent: this kernel has no VLAN-aware bridges. */
  vlanProtocol?: VlanTag['protocol'];
  groupForwardMask: number;
}

export interface LinkMessage {
  /** RTM_DELLINK. Of family `bridge`: the link is a port no longer, it has not gone. */
  deleted: boolean;
  /** `bridge`: about the port only; `link` then lacks kind, macvlanMode, linkNamespaceId and bridge. */
  family: 'link' | 'bridge';
  link: Link;
  /** With `deleted`: it moved into this namespace (the id is relative to ours), where it has this index. */
  newNamespaceId?: number;
  newIndex?: number;
}

/** RTM_NEWLINK or RTM_DELLINK. Throws DecodeError. */
export function decodeLink(message: NetlinkMessage): LinkMessage {
  const reader = message.payload.clone();
  const family = reader.u8('family');
  reader.u8('padding');
  reader.u16('device type');
  const index = reader.s32('index');
  const flags = reader.u32('flags');
  reader.u32('changed flags');
  const attributes = new Attributes(reader);

  const address = attributes.octets(k.IFLA_ADDRESS);
  const link: Link = {
    index,
    name: attributes.text(k.IFLA_IFNAME) ?? '',
    mtu: attributes.u32(k.IFLA_MTU) ?? 0,
    up: (flags & k.IFF_UP) !== 0,
    running: (flags & k.IFF_RUNNING) !== 0,
    lowerUp: (flags & k.IFF_LOWER_UP) !== 0,
  };
  if (address?.length === 6) link.mac = macFromOctets(address);
  assign(link, 'operState', OPER_STATES[attributes.u8(k.IFLA_OPERSTATE) ?? 0]);
  assign(link, 'master', attributes.u32(k.IFLA_MASTER));
  // 0 while a veth loses its other end.
  assign(link, 'parent', attributes.u32(k.IFLA_LINK) || undefined);
  assign(link, 'linkNamespaceId', attributes.s32(k.IFLA_LINK_NETNSID));
  decodeLinkInfo(link, attributes.nested(k.IFLA_LINKINFO));
  if (family === k.AF_BRIDGE) {
    const port = attributes.nested(k.IFLA_PROTINFO);
    if (port) link.bridgePort = decodeBridgePort(port);
    assign(link, 'vids', decodeVids(attributes.nested(k.IFLA_AF_SPEC)));
  }

  const decoded: LinkMessage = {
    deleted: message.type === k.RTM_DELLINK,
    family: family === k.AF_BRIDGE ? 'bridge' : 'link',
    link,
  };
  assign(decoded, 'newNamespaceId', attributes.s32(k.IFLA_NEW_NETNSID));
  assign(decoded, 'newIndex', attributes.s32(k.IFLA_NEW_IFINDEX));
  return decoded;
}

function decodeLinkInfo(link: Link, info: Attributes | undefined): void {
  if (!info) return;
  const kind = info.text(k.IFLA_INFO_KIND);
  assign(link, 'kind', kind);
  if (kind === 'bridge') {
    const data = info.nested(k.IFLA_INFO_DATA);
    link.bridge = {
      stpState: data?.u32(k.IFLA_BR_STP_STATE) ?? 0,
      vlanFiltering: data?.u8(k.IFLA_BR_VLAN_FILTERING) === 1,
      groupForwardMask: data?.u16(k.IFLA_BR_GROUP_FWD_MASK) ?? 0,
    };
    assign(link.bridge, 'vlanProtocol', vlanProtocol(data?.octets(k.IFLA_BR_VLAN_PROTOCOL)));
  } else if (kind === 'macvlan' || kind === 'macvtap') {
    const mode = info.nested(k.IFLA_INFO_DATA)?.u32(k.IFLA_MACVLAN_MODE);
    for (const [name, value] of Object.entries(MACVLAN_MODES)) {
      if (value === mode) link.macvlanMode = name as MacvlanMode;
    }
  } else if (kind === 'ipvlan' || kind === 'ipvtap') {
    const data = info.nested(k.IFLA_INFO_DATA);
    const mode = IPVLAN_MODES[data?.u16(k.IFLA_IPVLAN_MODE) ?? 0];
    const isolation = IPVLAN_ISOLATIONS[data?.u16(k.IFLA_IPVLAN_FLAGS) ?? 0];
    if (mode !== undefined && isolation !== undefined) link.ipvlan = { mode, isolation };
  } else if (kind === 'vlan') {
    const data = info.nested(k.IFLA_INFO_DATA);
    const protocol = vlanProtocol(data?.octets(k.IFLA_VLAN_PROTOCOL));
    const id = data?.u16(k.IFLA_VLAN_ID);
    if (id !== undefined && protocol !== undefined) link.vlan = { id, protocol };
  }
  const memberOf = info.text(k.IFLA_INFO_SLAVE_KIND);
  const data = info.nested(k.IFLA_INFO_SLAVE_DATA);
  if (memberOf === 'bridge' && data) link.bridgePort = decodeBridgePort(data);
  else if (memberOf === 'team') link.member = { of: memberOf };
  else if (memberOf === 'bond')
    link.member = { of: memberOf, active: data?.u8(k.IFLA_BOND_SLAVE_STATE) === k.BOND_STATE_ACTIVE };
}

/** Of an Ethertype, which is in network order. */
function vlanProtocol(octets: Uint8Array | undefined): VlanTag['protocol'] | undefined {
  return VLAN_PROTOCOLS[octets?.length === 2 ? (octets[0]! << 8) | octets[1]! : 0];
}

function decodeBridgePort(port: Attributes): BridgePortState {
  const flag = (type: number) => port.u8(type) === 1;
  const state: BridgePortState = {
    state: PORT_STATES[port.u8(k.IFLA_BRPORT_STATE) ?? 0] ?? 'disabled',
    hairpin: flag(k.IFLA_BRPORT_MODE),
    learning: flag(k.IFLA_BRPORT_LEARNING),
    flood: flag(k.IFLA_BRPORT_UNICAST_FLOOD),
    mcastFlood: flag(k.IFLA_BRPORT_MCAST_FLOOD),
    bcastFlood: flag(k.IFLA_BRPORT_BCAST_FLOOD),
    guard: flag(k.IFLA_BRPORT_GUARD),
    rootBlock: flag(k.IFLA_BRPORT_PROTECT),
    isolated: flag(k.IFLA_BRPORT_ISOLATED),
    neighSuppress: flag(k.IFLA_BRPORT_NEIGH_SUPPRESS),
    proxyArp: flag(k.IFLA_BRPORT_PROXYARP),
    groupForwardMask: port.u16(k.IFLA_BRPORT_GROUP_FWD_MASK) ?? 0,
  };
  if (port.has(k.IFLA_BRPORT_LOCKED)) state.locked = flag(k.IFLA_BRPORT_LOCKED);
  return state;
}

/** struct bridge_vlan_info; the kernel tells of a range by its ends. */
function decodeVids(spec: Attributes | undefined): number[] | undefined {
  const vids = new Set<number>();
  let begin = 0;
  for (const info of spec?.all(k.IFLA_BRIDGE_VLAN_INFO) ?? []) {
    const flags = info.u16('VLAN flags');
    const vid = info.u16('VID') & VID_MAX;
    if ((flags & k.BRIDGE_VLAN_INFO_RANGE_BEGIN) !== 0) begin = vid;
    const first = (flags & k.BRIDGE_VLAN_INFO_RANGE_END) !== 0 ? begin : vid;
    for (let each = first; each <= vid; each++) vids.add(each);
  }
  return spec && [...vids].sort((a, b) => a - b);
}

/** RTM_GETLINK of one link by index or name, or, with NLM_F_DUMP and neither, of all; in our namespace or one that has an id there. */
export function encodeGetLink(which?: number | string, namespaceId?: number): Uint8Array {
  const writer = linkHeader(k.AF_UNSPEC, typeof which === 'number' ? which : 0);
  if (typeof which === 'string') writer.text(k.IFLA_IFNAME, which);
  if (namespaceId !== undefined) writer.attribute(k.IFLA_TARGET_NETNSID, (w) => w.s32(namespaceId));
  return writer.attribute(k.IFLA_EXT_MASK, (w) => w.u32(k.RTEXT_FILTER_SKIP_STATS)).finish();
}

/** What may be set at a bridge port; `flush` forgets every address learnt there. */
export interface BridgePortChange {
  hairpin?: boolean;
  learning?: boolean;
  locked?: boolean;
  isolated?: boolean;
  flush?: boolean;
}

/** RTM_SETLINK: the flags that are given change together, the others stay. */
export function encodeSetBridgePort(index: number, change: BridgePortChange): Uint8Array {
  const flags = [
    [k.IFLA_BRPORT_MODE, change.hairpin],
    [k.IFLA_BRPORT_LEARNING, change.learning],
    [k.IFLA_BRPORT_LOCKED, change.locked],
    [k.IFLA_BRPORT_ISOLATED, change.isolated],
  ] as const;
  const writer = linkHeader(k.AF_BRIDGE, index);
  return writer
    .nested(k.IFLA_PROTINFO, (port) => {
      for (const [type, on] of flags) if (on !== undefined) port.attribute(type, (w) => w.u8(on ? 1 : 0));
      if (change.flush) port.attribute(k.IFLA_BRPORT_FLUSH, () => {});
    })
    .finish();
}

/** RTM_NEWLINK without NLM_F_CREATE: changes the mode of a macvlan or macvtap that exists. */
export function encodeSetMacvlanMode(
  index: number,
  kind: 'macvlan' | 'macvtap',
  mode: MacvlanMode,
): Uint8Array {
  return linkHeader(k.AF_UNSPEC, index)
    .nested(k.IFLA_LINKINFO, (info) =>
      info
        .text(k.IFLA_INFO_KIND, kind)
        .nested(k.IFLA_INFO_DATA, (data) =>
          data.attribute(k.IFLA_MACVLAN_MODE, (w) => w.u32(MACVLAN_MODES[mode])),
        ),
    )
    .finish();
}

/** struct ifinfomsg. */
function linkHeader(family: number, index: number): HostWriter {
  return new HostWriter().u8(family).u8(0).u16(0).s32(index).u32(0).u32(0);
}

function assign<T, K extends keyof T>(target: T, key: K, value: T[K] | undefined): void {
  if (value !== undefined) target[key] = value;
}
