import { CHASSIS_ID_MAC, type Identifier, PORT_ID_MAC } from '../../protocols/lldp-codec/index.ts';
import { macFromOctets, toHex } from '../../protocols/octets/index.ts';
import { type VdpTimers, type VsiCommand, vsiName } from '../../protocols/vdp/index.ts';
import type { Filter, LinkStatus, VsiState, VsiStatus } from '../model.ts';
import type { History } from '../port/history.ts';
import type { Port } from '../port/port.ts';
import { epochMicros } from './clock.ts';

/** The EVB peer as its last LLDPDU describes it. */
export function peerStatus(port: Port | undefined): LinkStatus['peer'] {
  const lldpdu = port?.peer?.lldpdu;
  const evb = lldpdu?.evb;
  if (port === undefined || lldpdu === undefined || evb === undefined) return {};
  const peer: LinkStatus['peer'] = {
    chassisId: identifierText(lldpdu.chassisId, CHASSIS_ID_MAC),
    portId: identifierText(lldpdu.portId, PORT_ID_MAC),
    mode: evb.mode === 1 ? 'bridge' : 'station',
    ttl: lldpdu.ttl,
    rrcap: evb.bridgeStatus.rrcap,
    rrctr: evb.bridgeStatus.rrctr,
    rrreq: evb.stationStatus.rrreq,
    groupIds: evb.mode === 1 ? evb.bridgeStatus.bgid : evb.stationStatus.sgid,
  };
  if (port.peerMac !== undefined) peer['mac'] = port.peerMac;
  if (lldpdu.systemName !== undefined) peer['systemName'] = lldpdu.systemName;
  if (lldpdu.portDescription !== undefined) peer['portDescription'] = lldpdu.portDescription;
  const rivals = port.rivals.length;
  if (rivals > 0) peer['otherPeers'] = rivals;
  return peer;
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
