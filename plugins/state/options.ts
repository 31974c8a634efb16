import { type Static, Type } from 'typebox'

export const StateOptions = Type.Object(
  {
    store: Type.Literal('embedded', {
      default: 'embedded',
      description: 'memory for what may be lost with the process, LevelDB under `dir` for what may not',
    }),
    // Its default depends on the environment, so config/ gives it.
    dir: Type.String({ minLength: 1, description: 'the state folder; TUNNEL_STATE_DIR is its short name' }),
  },
  { additionalProperties: false },
)

/** Where the proxy keeps what outlives a request. */
export type StateOptions = Static<typeof StateOptions>
