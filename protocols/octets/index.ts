export * from './addresses.ts';
export { DecodeError } from './decode-error.ts';
export { OctetReader } from './reader.ts';
export {
  organization,
  readTlv,
  TLV_MAX_LENGTH,
  TLV_ORGANIZATIONALLY_SPECIFIC,
  type Tlv,
  writeTlv,
} from './tlv.ts';
export { OctetWriter } from './writer.ts';
