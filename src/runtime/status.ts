import { DRAFT_MODE_RELAY } from '../../protocols/evb/index.ts';
import {
  CHASSIS_ID_MAC,
  EVB_MODE_BRIDGE,
  type Identifier,
  type Lldpdu,
  PORT_ID_MAC,
} from '../../protocols/lldp-codec/index.ts';
import { macFromOctets, toHex } from '../../protocols/octets/index.ts';
import { type VdpTimers, type VsiCommand, vsiName } from '../../protocols/vdp/index.ts';
import type { Slave } from '../kernel/slave-watch.ts';
import type {
  Filter,
  LinkStatus,
  ProbeReport,
  RelayState,
  SlaveStatus,
  VsiState,
  VsiStatus,
} from '../model.ts';
import type { History } from '../port/history.ts';
import type { Port } from '../port/port.ts';
import type { ProbeOutcome } from '../probe/probe.ts';
import { epochMicros } from './clock.ts';

/** The EVB peer as its last LLDPDU describes it. */
export function peerStatus(port: Port | undefined): LinkStatus['peer'] {
  const lldpdu = port?.peer?.lldpdu;
  if (port === undefined || lldpdu === undefined) return {};
  const peer: LinkStatus['peer'] = {
    chassisId: identifierText(lldpdu.chassisId, CHASSIS_ID_MAC),
    portId: identifierText(lldpdu.portId, PORT_ID_MAC),
    ttl: lldpdu.ttl,
    ...(port.dialect === 'draft' ? draftStatus(lldpdu) : ratifiedStatus(lldpdu)),
  };
  if (port.peerMac !== undefined) peer['mac'] = port.peerMac;
  if (lldpdu.systemName !== undefined) peer['systemName'] = withoutNul(lldpdu.systemName);
  if (lldpdu.portDescription !== undefined) peer['portDescription'] = withoutNul(lldpdu.portDescription);
  const rivals = port.rivals.length;
  if (rivals > 0) peer['otherPeers'] = rivals;
  return peer;
}

function ratifiedStatus({ evb }: Lldpdu): LinkStatus['peer'] {
  if (evb === undefined) return {};
  return {
    mode: evb.mode === EVB_MODE_BRIDGE ? 'bridge' : 'station',
    rrcap: evb.bridgeStatus.rrcap,
    rrctr: evb.bridgeStatus.rrctr,
    rrreq: evb.stationStatus.rrreq,
    groupIds: evb.mode === EVB_MODE_BRIDGE ? evb.bridgeStatus.bgid : evb.stationStatus.sgid,
  };
}

/** The draft's TLV does not tell a station from a bridge. */
function draftStatus({ evbDraft }: Lldpdu): LinkStatus['peer'] {
  if (evbDraft === undefined) return {};
  const { smode, cmode, scap, ccap, svsi, cvsi, rte } = evbDraft;
  return {
    relaySupported: (smode & DRAFT_MODE_RELAY) !== 0,
    relayInForce: (cmode & DRAFT_MODE_RELAY) !== 0,
    smode,
    scap,
    cmode,
    ccap,
    svsi,
    cvsi,
    rte,
  };
}

/** D-Bus carries no NUL; a peer that ends its names with one means none. */
function withoutNul(text: string): string {
  return text.replace(/\0+$/, '').replaceAll('\0', '\ufffd');
}

function identifierText({ subtype, id }: Identifier, mac: number): string {
  if (subtype === mac && id.length === 6) return macFromOctets(id);
  const text = new TextDecoder().decode(id);
  return /^[\x20-\x7e]+$/.test(text) ? text : toHex(id);
}

/** Seconds. */
export function linkTimers(timers: VdpTimers, port: Port | undefined): Record<string, number> {
  const seconds = Object.entries(timers).map(([name, milliseconds]) => [name, milliseconds / 1000]);
  return { ...Object.fromEntries(seconds), ...(port === undefined ? {} : { txTTL: port.lldp.txTTL }) };
}

/** Of an ipvlan in VEPA mode: what the standard's bridge does, and others may not. */
const IPVLAN_LIMITS =
  'ipvlan has the MAC address of the interface below: one VSI for all, and frames to a neighbour come to the bridge ' +
  'with source and destination alike, which it may drop, or answer with ICMP redirects where it routes';

const SWITCHED = 'set to bridge mode until relay is active';

export function slaveStatus(
  slave: Slave,
  verdict: { vsi: string } | { reason: string } | undefined,
  vsis: ReadonlyMap<string, { readonly id: string }>,
  switched: boolean,
  refusal: string | undefined,
): SlaveStatus {
  const { name, kind, mode, vepa, mac = '', vlans, namespaceId = -1 } = slave;
  const vsi = verdict !== undefined && 'vsi' in verdict ? (vsis.get(verdict.vsi)?.id ?? '') : '';
  const limits = vepa && (kind === 'ipvlan' || kind === 'ipvtap') ? IPVLAN_LIMITS : '';
  const note = refusal ?? (switched ? SWITCHED : limits);
  const reason = verdict !== undefined && 'reason' in verdict ? verdict.reason : note;
  return { name, kind, mode, mac, vlan: vlans[0]?.id ?? 0, namespace: namespaceId, vsi, reason };
}

/** Seconds. */
export function probeReport(
  link: string,
  { latencies, ...outcome }: ProbeOutcome,
  addresses: readonly string[],
  relay: RelayState,
): ProbeReport {
  const report = { link, relay, ...outcome, addresses: [...addresses] };
  if (latencies.length === 0) return report;
  const seconds = (index: number) => latencies[index]! / 1000;
  const last = latencies.length - 1;
  const latencyMedian = (seconds(Math.floor(last / 2)) + seconds(Math.ceil(last / 2))) / 2;
  return { ...report, latencyMin: seconds(0), latencyMedian, latencyMax: seconds(last) };
}

export function vsiStatus(
  link: string,
  command: VsiCommand,
  state: VsiState,
  history: History,
): Omit<VsiStatus, 'profile' | 'owner'> {
  return {
    id: vsiName(command),
    link,
    state,
    manager: toHex(command.manager),
    type: command.type,
    typeVersion: command.typeVersion,
    filters: command.filters.map((entry): Filter => ({ ...entry })),
    hint: command.hint,
    reason: history.last?.reason ?? '',
    since: epochMicros(history.last?.at ?? 0),
    history: history.transitions.map(({ at, state: was, reason }) => ({
      time: epochMicros(at),
      state: was,
      reason,
    })),
  };
}
