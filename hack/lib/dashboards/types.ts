import type { AnnotationQuery, Dashboard } from '@grafana/schema';

// As JSON has them: an enum is one of its words.
type Plain<T> = T extends string
  ? `${T}`
  : T extends (infer U)[]
    ? Plain<U>[]
    : T extends object
      ? { [K in keyof T]: Plain<T[K]> }
      : T;

// What Prometheus' data source reads of annotations, beyond what all have.
type Annotation = Plain<AnnotationQuery<{ refId: string; expr: string; interval: string }>> & { titleFormat: string };

export type Checked = Omit<Plain<Dashboard>, 'annotations'> & { annotations: { list: Annotation[] } };
