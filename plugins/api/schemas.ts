import { Type } from 'typebox'
import { LoginPlace } from '../../dial/login.ts'
import { Machine } from '../../dial/machine.ts'
import { KindName } from '../../protocol/options.ts'

const params = Type.Object({ machine: Type.String({ description: 'its name' }) })

export const listMachines = {
  summary: "The caller's machines",
  response: { 200: Type.Array(Machine) },
}
export const getMachine = {
  summary: "One of the caller's machines",
  params,
  response: { 200: Machine },
}
export const forgetMachine = {
  summary: 'Forgets a machine and its pinned host keys',
  params,
  response: { 204: Type.Null() },
}
export const trustMachine = {
  summary: 'Pins the host keys that a machine shows now in place of those it had',
  params,
  body: Type.Optional(
    Type.Union([
      Type.Null(),
      Type.Object(
        {
          hostKeys: Type.Optional(
            Type.Array(Type.String({ maxLength: 64 }), {
              maxItems: 8,
              description:
                'fingerprints that were compared; where it shows others by now, nothing is trusted',
            }),
          ),
        },
        { additionalProperties: false },
      ),
    ]),
  ),
  response: { 200: Machine },
}
export const checkPolicy = {
  summary: 'Whether a user could open a stream now, and which rule or default decides',
  body: Type.Object(
    {
      sub: Type.String({ maxLength: 128, description: "the user's id" }),
      machine: Type.String({ maxLength: 255, description: 'as the user would name it' }),
      kind: Type.Union([...KindName.anyOf, Type.Literal('agent')], {
        description: '`agent`: to put the machine on line',
      }),
      target: Type.Optional(Type.String({ maxLength: 300, description: 'host:port' })),
      tier: Type.Optional(
        Type.Union([Type.Literal('free'), Type.Literal('premium'), Type.Literal('enterprise')], {
          description: 'of the token; free where it is absent',
        }),
      ),
      roles: Type.Optional(
        Type.Array(Type.String({ maxLength: 64 }), { maxItems: 32, description: 'of the token' }),
      ),
    },
    { additionalProperties: false },
  ),
  response: {
    200: Type.Object({
      allowed: Type.Boolean(),
      rule: Type.String({
        description: 'what decides: `policy.rules[2]`, another setting, or what always holds',
      }),
      code: Type.Optional(Type.String({ description: 'what the user is refused with' })),
      reason: Type.String(),
      machine: Type.Optional(
        Type.Object({ owner: Type.String(), name: Type.String() }, { description: 'which one is meant' }),
      ),
      addresses: Type.Optional(
        Type.Array(Type.String(), {
          description: "what the target's name stands for on the machine now, as its agent says",
        }),
      ),
    }),
  },
}
export const sshKey = {
  summary: "The public half of the caller's SSH key",
  response: {
    200: Type.Object({
      publicKey: Type.String({ description: 'a line for authorized_keys' }),
      keyId: Type.String({ description: 'which master secret it was derived from' }),
      formerKeys: Type.Array(Type.Object({ publicKey: Type.String(), keyId: Type.String() }), {
        description: 'those of former master secrets, which are offered behind it',
      }),
    }),
  },
}

export const loginPlace = {
  summary: 'Where users of this proxy log in, for tunnel login',
  response: { 200: LoginPlace },
}
export const makeTicket = {
  summary:
    'A ticket for connect?ticket=, good for one use within 30 s: browsers send no header with a WebSocket',
  response: { 201: Type.Object({ ticket: Type.String(), expiresAt: Type.String() }) },
}
export const refresh = {
  summary: 'The next token for a refresh token, which is used up by it',
  body: Type.Object(
    {
      refreshToken: Type.String({ maxLength: 8_192 }),
      requestId: Type.Optional(
        Type.String({
          pattern: '^[\\w-]{8,64}$',
          description: 'of your making; with the same one an answer that was lost is given again within 30 s',
        }),
      ),
    },
    { additionalProperties: false },
  ),
  response: {
    200: Type.Object({ token: Type.String(), refreshToken: Type.String(), expiresAt: Type.String() }),
  },
}
export const revoke = {
  summary: "Ends tokens with their links and streams: this one, another of one's own, or all of a user",
  body: Type.Object(
    {
      token: Type.Optional(Type.String({ maxLength: 8_192, description: 'a token or refresh token' })),
      sub: Type.Optional(Type.String({ maxLength: 128, description: "a user's id; another's for an admin" })),
    },
    { additionalProperties: false },
  ),
  response: { 204: Type.Null() },
}
