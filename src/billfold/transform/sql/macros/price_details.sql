-- Macros for the price details of CUR.

-- The price details of CUR: FOCUS's names for known properties, x_ before the others (S). The attributes of CUR 2.0's map,
-- which is under the empty key here, join those with columns. Numbers stay as AWS writes them.
CREATE OR REPLACE MACRO price_detail(key, value) AS
    CASE
        WHEN key = 'instance_type' THEN {name: 'InstanceType', value: to_json(value)::VARCHAR}
        WHEN key = 'instance_type_family' THEN {name: 'InstanceSeries', value: to_json(value)::VARCHAR}
        WHEN key = 'operating_system' THEN {name: 'OperatingSystem', value: to_json(value)::VARCHAR}
        WHEN key = 'storage_class' THEN {name: 'StorageClass', value: to_json(value)::VARCHAR}
        WHEN key = 'vcpu' AND regexp_full_match(value, '[1-9][0-9]*') THEN {name: 'CoreCount', value: value}
        WHEN key = 'gpu' AND regexp_full_match(value, '[1-9][0-9]*') THEN {name: 'GpuCount', value: value}
        WHEN key = 'memory' AND regexp_full_match(value, '[1-9][0-9]*(\.[0-9]+)? GiB')
            THEN {name: 'MemorySize', value: split_part(value, ' ', 1)}
        ELSE {name: 'x_' || key, value: to_json(value)::VARCHAR}
    END;
CREATE OR REPLACE MACRO all_price_details(value, left_out) AS
    list_filter(
        list_concat(map_entries(map_of(value)), coalesce(map_entries(map_of(map_of(value)[''])), [])),
        lambda entry: entry.key <> '' AND entry.value <> '' AND NOT list_contains(left_out, entry.key));
CREATE OR REPLACE MACRO price_details_text(value, left_out) AS
        for_jsonb('{' || nullif(list_aggregate(
            list_transform(
                list_sort(list_transform(all_price_details(value, left_out), lambda entry: price_detail(entry.key, entry.value))),
                lambda detail: to_json(detail.name)::VARCHAR || ':' || detail.value),
            'string_agg', ','), '') || '}');
