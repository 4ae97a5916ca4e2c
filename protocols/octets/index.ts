export * from './addresses.ts';
export { DecodeError } from './decode-error.ts';
export { OctetReader } from './reader.ts';
export { OctetWriter } from './writer.ts';
