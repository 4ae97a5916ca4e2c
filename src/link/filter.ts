import {
  ETHERTYPE_ECP,
  ETHERTYPE_ECP_DRAFT,
  ETHERTYPE_LLDP,
  NEAREST_BRIDGE,
  NEAREST_CUSTOMER_BRIDGE,
  NEAREST_NON_TPMR_BRIDGE,
} from '../../protocols/ethernet/index.ts';
import { type MacAddress, macToOctets } from '../../protocols/octets/index.ts';
import type { BpfInstruction } from '../raw-socket/index.ts';

/** Destinations that the filter lets through besides the interface's own address. */
export const GROUPS: readonly MacAddress[] = [
  NEAREST_CUSTOMER_BRIDGE,
  NEAREST_NON_TPMR_BRIDGE,
  NEAREST_BRIDGE,
];
export const ETHERTYPES: readonly number[] = [ETHERTYPE_LLDP, ETHERTYPE_ECP, ETHERTYPE_ECP_DRAFT];

const LOAD_WORD = 0x20;
const LOAD_HALF = 0x28;
const JUMP_EQUAL = 0x15;
const RETURN = 0x06;
const WHOLE_FRAME = 0x40000;

interface Step {
  code: number;
  k: number;
  /** Label to go to when equal. */
  goto?: string;
  label?: string;
}

/**
 * Classic BPF: one of our Ethertypes, to one of our groups or to `own`. The socket itself takes ETH_P_ALL, because a bridge
 * port's rx handler hides frames from a socket bound to one Ethertype (lldp.md 1.1).
 */
export function protocolFilter(own: MacAddress, etherTypes = ETHERTYPES): BpfInstruction[] {
  const ownOctets = macToOctets(own);
  const word = (octets: Uint8Array) => new DataView(octets.buffer, octets.byteOffset).getUint32(0);
  const half = (octets: Uint8Array) => new DataView(octets.buffer, octets.byteOffset).getUint16(4);
  const steps: Step[] = [
    { code: LOAD_HALF, k: 12 },
    ...etherTypes.map((etherType) => ({ code: JUMP_EQUAL, k: etherType, goto: 'address' })),
    { code: RETURN, k: 0 },
    { code: LOAD_WORD, k: 0, label: 'address' },
    { code: JUMP_EQUAL, k: word(macToOctets(NEAREST_CUSTOMER_BRIDGE)), goto: 'group' },
    { code: JUMP_EQUAL, k: word(ownOctets), goto: 'own' },
    { code: RETURN, k: 0 },
    { code: LOAD_HALF, k: 4, label: 'group' },
    ...GROUPS.map((group) => ({ code: JUMP_EQUAL, k: half(macToOctets(group)), goto: 'accept' })),
    { code: RETURN, k: 0 },
    { code: LOAD_HALF, k: 4, label: 'own' },
    { code: JUMP_EQUAL, k: half(ownOctets), goto: 'accept' },
    { code: RETURN, k: 0 },
    { code: RETURN, k: WHOLE_FRAME, label: 'accept' },
  ];
  return assemble(steps);
}

/** Frames with these octets, a multiple of four, at `offset`; a tag that the kernel takes off first does not count. */
export function octetsFilter(offset: number, octets: Uint8Array): BpfInstruction[] {
  const view = new DataView(octets.buffer, octets.byteOffset, octets.length);
  const steps: Step[] = [];
  for (let at = 0; at < octets.length; at += 4) {
    steps.push(
      { code: LOAD_WORD, k: offset + at, label: `${at}` },
      { code: JUMP_EQUAL, k: view.getUint32(at), goto: `${at + 4}` },
      { code: RETURN, k: 0 },
    );
  }
  return assemble([...steps, { code: RETURN, k: WHOLE_FRAME, label: `${octets.length}` }]);
}

function assemble(steps: readonly Step[]): BpfInstruction[] {
  return steps.map(({ code, k, goto }, i) => ({
    code,
    jt: goto === undefined ? 0 : steps.findIndex(({ label }) => label === goto) - i - 1,
    jf: 0,
    k,
  }));
}
