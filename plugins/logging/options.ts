import { type Static, Type } from 'typebox'

export const LogOptions = Type.Object(
  {
    level: Type.Union(
      [
        Type.Literal('error'),
        Type.Literal('warn'),
        Type.Literal('info'),
        Type.Literal('debug'),
        Type.Literal('trace'),
        Type.Literal('silent'),
      ],
      { default: 'info', description: 'the lowest level that is logged' },
    ),
  },
  { additionalProperties: false },
)

export type LogOptions = Static<typeof LogOptions>
export type LogLevel = LogOptions['level']
