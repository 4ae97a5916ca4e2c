export * from './evb-tlv.ts';
export * from './lldpdu.ts';
