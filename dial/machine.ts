import { type Static, Type } from 'typebox'

const HostKey = Type.Object({
  type: Type.String(),
  fingerprint: Type.String({ description: '`SHA256:…`, as `ssh-keygen -l` shows it' }),
})

/** A machine as the proxy's routes tell it to its owner, and to whom it is shared with. */
export const Machine = Type.Object({
  owner: Type.String(),
  name: Type.String(),
  source: Type.Union([Type.Literal('agent'), Type.Literal('configured')]),
  shared: Type.Optional(Type.Boolean({ description: "somebody else's, which a rule lets the caller use" })),
  online: Type.Boolean(),
  since: Type.Optional(
    Type.String({ description: 'when it came on line or went off; unknown if not seen since the start' }),
  ),
  sshUser: Type.String(),
  hostKeys: Type.Array(HostKey, { description: 'the pinned ones' }),
  hostKeyChanged: Type.Boolean({
    description: 'it shows other keys than the pinned ones, and waits for its owner to trust them',
  }),
  changedKeys: Type.Optional(
    Type.Array(HostKey, {
      description: 'those that it shows now, where that are others than the pinned ones',
    }),
  ),
  tried: Type.Optional(
    Type.Object(
      {
        at: Type.String(),
        ok: Type.Boolean(),
        code: Type.Optional(Type.String({ description: 'why it could not be reached' })),
        tookMs: Type.Integer(),
      },
      { description: "when the proxy last tried to reach its SSH server, as far as the server's greeting" },
    ),
  ),
  agentVersion: Type.Optional(Type.String()),
  streams: Type.Optional(
    Type.Object(
      { open: Type.Integer(), waiting: Type.Integer() },
      {
        description:
          'sealed streams and pooled SSH connections that its agent carries, and those that wait for it to come back',
      },
    ),
  ),
})
export type Machine = Static<typeof Machine>
