import {
  decodeEcpDraftPdu,
  decodeEcpdu,
  ECP_SUBTYPE_VDP,
  ECP_VERSION,
  type EcpOperation,
} from '../../protocols/ecp/index.ts';
import {
  decodeFrame,
  ETHERTYPE_ECP,
  ETHERTYPE_ECP_DRAFT,
  ETHERTYPE_LLDP,
  type EthernetFrame,
} from '../../protocols/ethernet/index.ts';
import {
  DRAFT_CAPABILITY_ECP,
  DRAFT_CAPABILITY_RTE,
  DRAFT_CAPABILITY_VDP,
  DRAFT_MODE_RELAY,
} from '../../protocols/evb/index.ts';
import {
  CHASSIS_ID_MAC,
  decodeLldpdu,
  EVB_MODE_BRIDGE,
  EVB_MODE_STATION,
  type EvbDraftTlv,
  type EvbTlv,
  type Identifier,
  type Lldpdu,
  PORT_ID_MAC,
} from '../../protocols/lldp-codec/index.ts';
import { DecodeError, macFromOctets, toHex } from '../../protocols/octets/index.ts';
import {
  decodeStatus,
  decodeVdp,
  decodeVdpDraft,
  FILTER_MAC_VID,
  type FilterEntry,
  idFormatName,
  type VdpRequest,
  VSIID_UUID,
  type VsiDraftTlv,
  type VsiStatusField,
  type VsiTlv,
  vdpDraftResponseName,
  vdpErrorName,
  vsiIdText,
} from '../../protocols/vdp/index.ts';

export interface IdentifierDocument {
  /** As on the wire; chassis and port number them differently (lldp.md 2). */
  subtype: number;
  /** An address with colons, printable text, or hex digits. */
  id: string;
}

export interface EvbDocument extends Omit<EvbTlv, 'mode'> {
  mode: string;
}

export interface LldpDocument {
  /** Seconds; 0 is a shutdown. */
  ttl: number;
  chassisId: IdentifierDocument;
  portId: IdentifierDocument;
  systemName?: string;
  portDescription?: string;
  evb?: EvbDocument;
  evbDraft?: EvbDraftTlv;
}

export interface EcpDocument {
  dialect: 'ratified' | 'draft';
  /** Ratified only. */
  version?: number;
  operation: EcpOperation;
  subtype: number;
  sequence: number;
}

export interface FilterDocument {
  mac: string | null;
  vid: number;
  pcp: number | null;
  group: number | null;
}

export interface VsiDocument {
  request: VdpRequest;
  /** Ratified; in a request `keep` and `hard` are the S and the M bit: the migration hint. */
  status?: VsiStatusField;
  /** Draft: 0 in a request and for success (vdp.md 5.1). */
  response?: number;
  type: number;
  typeVersion: number;
  idFormat: string;
  id: string;
  filterFormat: number;
  filters: FilterDocument[];
}

/** One frame for programs: what `trace --json` and `decode --json` print. Keys that do not apply are absent. */
export interface FrameDocument {
  source?: string;
  destination?: string;
  /** `0x8940` */
  etherType?: string;
  /** VID of an 802.1Q tag in front; 0 is a priority tag. */
  tag?: number;
  summary: string;
  lldp?: LldpDocument;
  ecp?: EcpDocument;
  vdp?: { manager: string; vsis: VsiDocument[] };
  /** Why the frame, or a part of it, could not be decoded. */
  error: string | null;
}

export interface FrameSummary {
  /** One line for people. */
  summary: string;
  /** The same in parts, for a drawing: what the frame is, and a line for each of its VSIs. */
  head: string;
  vsis: string[];
  document: FrameDocument;
}

interface Decoded {
  /** Opens the summary. */
  head: string;
  parts: Pick<FrameDocument, 'lldp' | 'ecp' | 'vdp'>;
  error: string | null;
}

/**
 * A whole Ethernet frame without FCS, decoded for people and for programs. Never throws: what cannot be decoded is said in
 * `document.error`, and what could be decoded before that is there. `cut`: the octets are the front part of a longer frame.
 */
export function summarize(octets: Uint8Array, cut = false): FrameSummary {
  let frame: EthernetFrame;
  try {
    frame = decodeFrame(octets);
  } catch (error) {
    const reason = cut ? CUT : reasonOf(error, 0);
    const summary = `${octets.length} octets, no Ethernet frame`;
    return { summary, head: summary, vsis: [], document: { summary, error: reason } };
  }
  const { head, parts, error } = decodePayload(frame, octets.length - frame.payload.length, cut);
  const vsis = (parts.vdp?.vsis ?? []).map(vsiText);
  const summary = summaryOf(head, vsis, error);
  const etherType = `0x${frame.etherType.toString(16).padStart(4, '0')}`;
  const document: FrameDocument = {
    source: frame.source,
    destination: frame.destination,
    etherType,
    ...(frame.taggedVid === undefined ? {} : { tag: frame.taggedVid }),
    summary,
    ...parts,
    error,
  };
  return { summary, head, vsis, document };
}

const CUT = 'truncated by the capture';

/** Whether a frame belongs to one of the three protocols, and so on the ladder. */
export function isProtocolFrame(document: FrameDocument): boolean {
  return document.lldp !== undefined || document.ecp !== undefined || PROTOCOLS.has(document.etherType ?? '');
}

const PROTOCOLS = new Set(
  [ETHERTYPE_LLDP, ETHERTYPE_ECP, ETHERTYPE_ECP_DRAFT].map((type) => `0x${type.toString(16)}`),
);

/** `offset`: of the payload in the frame, so that errors count octets from the frame's first. */
function decodePayload(frame: EthernetFrame, offset: number, cut: boolean): Decoded {
  switch (frame.etherType) {
    case ETHERTYPE_LLDP:
      return lldp(frame.payload, offset, cut);
    case ETHERTYPE_ECP:
      return ecp(frame.payload, offset, cut);
    case ETHERTYPE_ECP_DRAFT:
      return ecpDraft(frame.payload, offset, cut);
    default:
      return {
        head: `Ethertype 0x${frame.etherType.toString(16).padStart(4, '0')}, ${frame.payload.length} octets`,
        parts: {},
        error: cut ? CUT : null,
      };
  }
}

function lldp(payload: Uint8Array, offset: number, cut: boolean): Decoded {
  const { value, error } = asFarAsItGoes(decodeLldpdu, payload, offset, cut);
  if (value === undefined) return { head: 'LLDP', parts: {}, error };
  const { lldpdu, defects } = value;
  // A TLV that nobody knows is no defect to people.
  const defect = defects.find(({ counters }) => !counters.includes('statsTLVsUnrecognizedTotal'));
  return {
    head: lldpText(lldpdu),
    parts: { lldp: lldpDocument(lldpdu) },
    error: error ?? (defect ? `${defect.reason} (at octet ${defect.offset + offset})` : null),
  };
}

function ecp(payload: Uint8Array, offset: number, cut: boolean): Decoded {
  let ecpdu: ReturnType<typeof decodeEcpdu>;
  try {
    ecpdu = decodeEcpdu(payload);
  } catch (error) {
    return { head: 'ECP', parts: {}, error: cut ? CUT : reasonOf(error, offset) };
  }
  const { operation, subtype, sequence } = ecpdu;
  const document: EcpDocument = { dialect: 'ratified', version: ECP_VERSION, operation, subtype, sequence };
  const head = `ECP ${operation} ${sequence}${subtype === ECP_SUBTYPE_VDP ? '' : ` of subtype ${subtype}`}`;
  if (operation === 'ack' || subtype !== ECP_SUBTYPE_VDP) {
    return { head, parts: { ecp: document }, error: cut && operation === 'request' ? CUT : null };
  }
  const { value, error } = asFarAsItGoes(decodeVdp, ecpdu.ulpdu, offset + 4, cut);
  if (value === undefined) return { head, parts: { ecp: document }, error };
  const invalid = value.invalid[0];
  return {
    head,
    parts: { ecp: document, vdp: { manager: toHex(value.manager), vsis: value.vsis.map(vsiDocument) } },
    error:
      error ??
      (invalid ? `${invalid.request}: ${invalid.reason} (at octet ${invalid.offset + offset + 4})` : null),
  };
}

function ecpDraft(payload: Uint8Array, offset: number, cut: boolean): Decoded {
  let ecpdu: ReturnType<typeof decodeEcpDraftPdu>;
  try {
    ecpdu = decodeEcpDraftPdu(payload);
  } catch (error) {
    return { head: 'draft ECP', parts: {}, error: cut ? CUT : reasonOf(error, offset) };
  }
  const { operation, subtype, sequence } = ecpdu;
  const document: EcpDocument = { dialect: 'draft', operation, subtype, sequence };
  const head = `draft ECP ${operation} ${sequence}${subtype === 0 ? '' : ` of subtype ${subtype}`}`;
  if (operation === 'ack' || subtype !== 0) {
    return { head, parts: { ecp: document }, error: cut && operation === 'request' ? CUT : null };
  }
  const behindHeader = offset + payload.length - ecpdu.ulpdu.length;
  const { value, error } = asFarAsItGoes(decodeVdpDraft, ecpdu.ulpdu, behindHeader, cut);
  const [first] = value?.vsis ?? [];
  // Each VSI of the draft has a manager of its own, of one octet; people and libvirt give them the same.
  const manager = (first?.manager ?? 0).toString(16).padStart(2, '0').padEnd(32, '0');
  const invalid = value?.invalid[0];
  return {
    head,
    parts: { ecp: document, ...(first && { vdp: { manager, vsis: value!.vsis.map(vsiDraftDocument) } }) },
    error: error ?? (invalid ? `VSI: ${invalid.reason} (at octet ${invalid.offset + behindHeader})` : null),
  };
}

/** Decodes the whole, or, when that fails, the complete TLVs in front of the fault. */
function asFarAsItGoes<T>(
  decode: (octets: Uint8Array) => T,
  octets: Uint8Array,
  offset: number,
  cut: boolean,
): { value: T | undefined; error: string | null } {
  try {
    return { value: decode(octets), error: cut ? CUT : null };
  } catch (error) {
    const reason = cut ? CUT : reasonOf(error, offset);
    const whole = completeTlvs(octets);
    try {
      return { value: decode(whole), error: reason };
    } catch (second) {
      reasonOf(second, offset);
      return { value: undefined, error: reason };
    }
  }
}

function completeTlvs(octets: Uint8Array): Uint8Array {
  let end = 0;
  while (end + 2 <= octets.length) {
    const next = end + 2 + (((octets[end]! & 1) << 8) | octets[end + 1]!);
    if (next > octets.length) break;
    end = next;
  }
  return octets.subarray(0, end);
}

/** One line, with the octet counted from the start of the frame. */
function reasonOf(error: unknown, offset: number): string {
  if (!(error instanceof DecodeError)) throw error;
  return `${error.reason} (at octet ${error.offset + offset})`;
}

function lldpText({ ttl, evb, evbDraft }: Lldpdu): string {
  if (ttl === 0) return 'LLDP ttl 0, shutdown';
  const head = `LLDP ttl ${ttl}`;
  if (evb !== undefined) return `${head} EVB ${evbText(evb)}`;
  if (evbDraft !== undefined) return `${head} draft EVB ${evbDraftText(evbDraft)}`;
  return `${head}, no EVB`;
}

function evbText({ mode, bridgeStatus, stationStatus }: EvbTlv): string {
  const words = (...flags: [boolean, string][]) => flags.map(([on, name]) => (on ? ` ${name}` : '')).join('');
  if (mode === EVB_MODE_STATION) {
    const { rrreq, sgid, rrstat } = stationStatus;
    const relay = ['off', 'on'][rrstat] ?? 'unknown';
    return `station${words([rrreq, 'RRREQ'], [sgid, 'SGID'])}, relay ${relay}`;
  }
  if (mode === EVB_MODE_BRIDGE) {
    const { rrcap, bgid, rrctr } = bridgeStatus;
    return `bridge${words([rrcap, 'RRCAP'], [bgid, 'BGID'])}, relay ${rrctr ? 'on' : 'off'}`;
  }
  return modeName(mode);
}

function modeName(mode: number): string {
  if (mode === EVB_MODE_BRIDGE) return 'bridge';
  return mode === EVB_MODE_STATION ? 'station' : `reserved ${mode}`;
}

/** The draft does not say which side speaks; what is in force is what `cmode` and `ccap` say (evb-tlv.md 3.1). */
function evbDraftText({ cmode, ccap }: EvbDraftTlv): string {
  const capabilities: [number, string][] = [
    [DRAFT_CAPABILITY_RTE, 'RTE'],
    [DRAFT_CAPABILITY_ECP, 'ECP'],
    [DRAFT_CAPABILITY_VDP, 'VDP'],
  ];
  const agreed = capabilities.flatMap(([bit, name]) => ((ccap & bit) === 0 ? [] : [name]));
  const relay = (cmode & DRAFT_MODE_RELAY) === 0 ? 'off' : 'on';
  return `${agreed.length > 0 ? agreed.join(' ') : 'nothing agreed'}, relay ${relay}`;
}

function lldpDocument(lldpdu: Lldpdu): LldpDocument {
  const { ttl, chassisId, portId, systemName, portDescription, evb, evbDraft } = lldpdu;
  return {
    ttl,
    chassisId: identifierDocument(chassisId, CHASSIS_ID_MAC),
    portId: identifierDocument(portId, PORT_ID_MAC),
    ...(systemName === undefined ? {} : { systemName }),
    ...(portDescription === undefined ? {} : { portDescription }),
    ...(evb === undefined ? {} : { evb: { ...evb, mode: modeName(evb.mode) } }),
    ...(evbDraft === undefined ? {} : { evbDraft }),
  };
}

function identifierDocument({ subtype, id }: Identifier, macSubtype: number): IdentifierDocument {
  if (subtype === macSubtype && id.length === 6) return { subtype, id: macFromOctets(id) };
  const text = id.every((octet) => octet >= 0x20 && octet < 0x7f);
  return { subtype, id: text ? String.fromCharCode(...id) : toHex(id) };
}

function vsiDocument(vsi: VsiTlv): VsiDocument {
  return {
    request: vsi.request,
    status: decodeStatus(vsi.status),
    type: vsi.type,
    typeVersion: vsi.typeVersion,
    idFormat: idFormatName(vsi.idFormat),
    id: vsiIdText(vsi),
    filterFormat: vsi.filterFormat,
    filters: vsi.filters.map(filterDocument),
  };
}

function vsiDraftDocument({ request, response, type, typeVersion, id, filters }: VsiDraftTlv): VsiDocument {
  return {
    request,
    response,
    type,
    typeVersion,
    idFormat: idFormatName(VSIID_UUID),
    id: vsiIdText({ idFormat: VSIID_UUID, id }),
    filterFormat: FILTER_MAC_VID,
    filters: filters.map(filterDocument),
  };
}

function filterDocument({ mac, vid, pcp, group }: FilterEntry): FilterDocument {
  return { mac: mac ?? null, vid, pcp: pcp ?? null, group: group ?? null };
}

/** As `--filter` takes it: `[MAC/]VID[/GROUP][@PCP]`. */
export function filterText(filter: {
  mac?: string | null;
  vid: number;
  pcp?: number | null;
  group?: number | null;
}): string {
  const { mac, vid, pcp, group } = filter;
  return `${mac ? `${mac}/` : ''}${vid}${group == null ? '' : `/${group}`}${pcp == null ? '' : `@${pcp}`}`;
}

function vsiText(vsi: VsiDocument): string {
  const [first, ...more] = vsi.filters;
  const filters = first === undefined ? '' : ` ${filterText(first)}${more.length ? ` +${more.length}` : ''}`;
  const id = vsi.idFormat === 'uuid' ? `${vsi.id.slice(0, 8)}…` : vsi.id;
  return `${outcomeText(vsi)}${filters} (vsi ${id})`;
}

const CONFIRMED: Record<VdpRequest, string> = {
  preassociate: 'preassociated',
  reserve: 'reserved',
  associate: 'associated',
  deassociate: 'deassociated',
};

function outcomeText({ request, status, response }: VsiDocument): string {
  if (status === undefined) {
    return response === 0 ? request : `${request} refused: ${vdpDraftResponseName(response!)}`;
  }
  const { ack, keep, hard, error } = status;
  if (!ack) return `${request}${keep === hard ? '' : keep ? ' hint from' : ' hint to'}`;
  if (error === 0) return CONFIRMED[request];
  const manner = keep ? ' (keep)' : hard ? ' (hard)' : '';
  // A bridge refuses with its DeAssociate TLV unless it keeps what was (vdp.md 4).
  const verb = request === 'deassociate' ? 'refused, deassociated' : `${request} refused`;
  return `${verb}: ${vdpErrorName(error)}${manner}`;
}

/** VSIs that a summary spells out; a burst of them would be no line for people. */
const SUMMARY_VSIS = 2;

function summaryOf(head: string, vsis: readonly string[], error: string | null): string {
  const rest = vsis.length - SUMMARY_VSIS;
  return [
    head,
    ...vsis.slice(0, SUMMARY_VSIS),
    ...(rest > 0 ? [`and ${rest} more`] : []),
    ...(error === null ? [] : [`undecoded: ${error}`]),
  ].join(' | ');
}
