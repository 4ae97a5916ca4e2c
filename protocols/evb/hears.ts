import { EVB_MODE_BRIDGE, EVB_MODE_STATION, type EvbTlv } from '../lldp-codec/index.ts';

type BridgeStatus = EvbTlv['bridgeStatus'];
type StationStatus = EvbTlv['stationStatus'];

/**
 * The peer's TLV says what only who has heard `own` can know: it echoes our status, as far as that differs from an octet never
 * filled in, or it has turned on the relay that we request (evb-tlv.md 1.8 and 1.9; not every bridge echoes).
 */
export function hears(peer: EvbTlv, own: EvbTlv): boolean {
  if (own.mode === EVB_MODE_STATION && peer.mode === EVB_MODE_BRIDGE) {
    const { stationStatus } = own;
    const echoes = !isBlank(stationStatus) && sameStatus(peer.stationStatus, stationStatus);
    return echoes || (stationStatus.rrreq && peer.bridgeStatus.rrctr);
  }
  if (own.mode !== EVB_MODE_BRIDGE || peer.mode !== EVB_MODE_STATION) return false;
  const { bgid, rrcap, rrctr } = own.bridgeStatus;
  return (bgid || rrcap || rrctr) && sameBridgeStatus(peer.bridgeStatus, own.bridgeStatus);
}

export function sameStatus(a: StationStatus, b: StationStatus): boolean {
  return a.sgid === b.sgid && a.rrreq === b.rrreq && a.rrstat === b.rrstat;
}

export function isBlank(status: StationStatus): boolean {
  return !status.sgid && !status.rrreq && status.rrstat === 0;
}

function sameBridgeStatus(a: BridgeStatus, b: BridgeStatus): boolean {
  return a.bgid === b.bgid && a.rrcap === b.rrcap && a.rrctr === b.rrctr;
}
