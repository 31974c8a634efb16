import { type Static, Type } from 'typebox'

/** A machine that the proxy reaches by TCP, without an agent. */
export const ConfiguredMachine = Type.Object(
  {
    host: Type.String({ minLength: 1 }),
    port: Type.Integer({ default: 22, minimum: 1, maximum: 65_535 }),
    /** The account that inspected mode signs in to. */
    user: Type.String({ minLength: 1 }),
    /** The SSH server's public key, as in known_hosts: `ssh-ed25519 AAAA…`. */
    hostKey: Type.String({
      pattern: '^(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa) [A-Za-z0-9+/]+=*',
    }),
    /** User ids that have it among their machines. */
    owners: Type.Array(Type.String({ minLength: 1 }), { minItems: 1 }),
  },
  { additionalProperties: false },
)
export type ConfiguredMachine = Static<typeof ConfiguredMachine>

/** By name. */
export const MachinesOptions = Type.Record(
  Type.String({ pattern: '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$' }),
  ConfiguredMachine,
  {
    description: 'Machines that the proxy reaches by TCP, without an agent',
    default: {},
  },
)
export type MachinesOptions = Static<typeof MachinesOptions>
