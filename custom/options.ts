import { type Static, Type } from 'typebox'

/** The custom plugins of a configuration, in the order in which they are registered. */
export const PluginsOptions = Type.Array(
  Type.Object(
    {
      path: Type.String({
        minLength: 1,
        description: 'A module: a file, or the name of an installed package',
      }),
      options: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'What it is given' })),
    },
    { additionalProperties: false },
  ),
  { default: [], maxItems: 64, description: 'Custom plugins: `[{ "path", "options" }]`' },
)
export type PluginsOptions = Static<typeof PluginsOptions>
