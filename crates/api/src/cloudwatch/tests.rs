use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_core::{ManualClock, Timestamp};
use puffer_metrics::Metrics;
use puffer_shapes::cloudwatch as shapes;
use puffer_store::Store;
use puffer_wire::EpochMillis;
use rand::SeedableRng;

use super::*;
use crate::{ApiError, Ctx};

const NOW: Timestamp = Timestamp::from_secs(1_795_219_200);
const POLICY: &str =
    "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:1:autoScalingGroupName/g:policyName/p";

struct World {
    cx: Arc<Ctx>,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW));
    let cx = Ctx {
        endpoint: "127.0.0.1:1".into(),
        account: "123456789012".into(),
        region: "us-east-1".into(),
        clock: Arc::clone(&clock) as _,
        store: Store::open(&dir.path().join("store.redb"), &puffer_inventory::schema()).unwrap(),
        metrics: Metrics::open(&dir.path().join("m.redb"), Arc::clone(&clock) as _, Default::default())
            .unwrap(),
        rng: Mutex::new(Box::new(rand_pcg::Pcg64::seed_from_u64(1))),
        console: Arc::new(crate::NoConsole),
    };
    World { cx: Arc::new(cx), clock, _dir: dir }
}

fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    result.unwrap_err().code.into_owned()
}

fn ms(s: i64) -> EpochMillis {
    EpochMillis((NOW.as_secs() + s) * 1000)
}

fn datum(name: &str, at_s: i64, value: f64) -> shapes::MetricDatum {
    shapes::MetricDatum {
        metric_name: Some(name.into()),
        timestamp: Some(ms(at_s)),
        value: Some(value),
        unit: Some("Percent".into()),
        dimensions: Some(vec![shapes::Dimension { name: Some("Host".into()), value: Some("a".into()) }]),
        ..Default::default()
    }
}

impl World {
    fn cx(&self) -> Arc<Ctx> {
        Arc::clone(&self.cx)
    }

    async fn put_data(&self, data: Vec<shapes::MetricDatum>) -> Result<(), ApiError> {
        let input = shapes::PutMetricDataInput {
            namespace: Some("App".into()),
            metric_data: Some(data),
            ..Default::default()
        };
        put_metric_data::put(self.cx(), input).await
    }

    async fn put_alarm(&self, input: shapes::PutMetricAlarmInput) -> Result<(), ApiError> {
        put_metric_alarm::put(self.cx(), input).await
    }

    async fn alarms(&self, input: shapes::DescribeAlarmsInput) -> shapes::DescribeAlarmsOutput {
        describe_alarms::describe(self.cx(), input).await.unwrap()
    }

    async fn one(&self, name: &str) -> shapes::MetricAlarm {
        let input =
            shapes::DescribeAlarmsInput { alarm_names: Some(vec![name.into()]), ..Default::default() };
        self.alarms(input).await.metric_alarms.unwrap().remove(0)
    }
}

fn alarm(name: &str) -> shapes::PutMetricAlarmInput {
    shapes::PutMetricAlarmInput {
        alarm_name: Some(name.into()),
        namespace: Some("App".into()),
        metric_name: Some("Load".into()),
        dimensions: Some(vec![shapes::Dimension { name: Some("Host".into()), value: Some("a".into()) }]),
        statistic: Some("Average".into()),
        period: Some(60),
        evaluation_periods: Some(3),
        threshold: Some(50.0),
        comparison_operator: Some("GreaterThanThreshold".into()),
        alarm_actions: Some(vec![POLICY.into()]),
        ..Default::default()
    }
}

fn stat(id: &str, name: &str, statistic: &str) -> shapes::MetricDataQuery {
    shapes::MetricDataQuery {
        id: Some(id.into()),
        metric_stat: Some(shapes::MetricStat {
            metric: Some(shapes::Metric {
                namespace: Some("App".into()),
                metric_name: Some(name.into()),
                dimensions: Some(vec![shapes::Dimension {
                    name: Some("Host".into()),
                    value: Some("a".into()),
                }]),
            }),
            period: Some(60),
            stat: Some(statistic.into()),
            unit: None,
        }),
        ..Default::default()
    }
}

fn expression(id: &str, text: &str) -> shapes::MetricDataQuery {
    shapes::MetricDataQuery { id: Some(id.into()), expression: Some(text.into()), ..Default::default() }
}

#[tokio::test]
async fn data_come_back_both_ways() {
    let w = world();
    let data = (0..5).map(|i| datum("Load", -300 + i * 60, i as f64)).collect();
    w.put_data(data).await.unwrap();
    let statistics = get_metric_statistics::get(
        w.cx(),
        shapes::GetMetricStatisticsInput {
            namespace: Some("App".into()),
            metric_name: Some("Load".into()),
            dimensions: Some(vec![shapes::Dimension { name: Some("Host".into()), value: Some("a".into()) }]),
            start_time: Some(ms(-300)),
            end_time: Some(ms(0)),
            period: Some(120),
            statistics: Some(vec!["Sum".into(), "Maximum".into()]),
            ..Default::default()
        },
    )
    .await
    .unwrap();
    let points = statistics.datapoints.unwrap();
    let sums: Vec<_> = points.iter().map(|p| (p.timestamp.unwrap(), p.sum, p.maximum, p.average)).collect();
    assert_eq!(
        sums,
        [
            (ms(-300), Some(1.0), Some(1.0), None),
            (ms(-180), Some(5.0), Some(3.0), None),
            (ms(-60), Some(4.0), Some(4.0), None)
        ]
    );
    assert_eq!(points[0].unit.as_deref(), Some("Percent"));

    let mut input = shapes::GetMetricDataInput {
        metric_data_queries: Some(vec![
            shapes::MetricDataQuery { return_data: Some(false), ..stat("m1", "Load", "Average") },
            stat("m2", "Load", "p50"),
            expression("e1", "m1 * 2 + FILL(m2, 0)"),
        ]),
        start_time: Some(ms(-300)),
        end_time: Some(ms(0)),
        scan_by: Some("TimestampAscending".into()),
        max_datapoints: Some(7),
        ..Default::default()
    };
    let first = get_metric_data::get(w.cx(), input.clone()).await.unwrap();
    let results = first.metric_data_results.unwrap();
    assert_eq!(results[0].values, Some(vec![0.0, 1.0, 2.0, 3.0, 4.0]));
    assert_eq!(
        (results[0].label.as_deref(), results[0].status_code.as_deref()),
        (Some("Load"), Some("Complete"))
    );
    assert_eq!(results[1].values, Some(vec![0.0, 3.0]));
    assert_eq!(results[1].status_code.as_deref(), Some("PartialData"));
    input.next_token = first.next_token;
    let second = get_metric_data::get(w.cx(), input).await.unwrap();
    assert_eq!(second.next_token, None);
    let results = second.metric_data_results.unwrap();
    assert_eq!((results[0].id.as_deref(), &results[0].values), (Some("e1"), &Some(vec![6.0, 9.0, 12.0])));
}

#[tokio::test]
async fn bad_data_are_refused_and_nothing_is_kept() {
    let w = world();
    let good = || datum("Load", 0, 1.0);
    for (bad, expected) in [
        (datum("Load", -15 * 86_400, 1.0), "InvalidParameterValue"),
        (datum("Load", 3 * 3600, 1.0), "InvalidParameterValue"),
        (datum("Load", 0, f64::NAN), "InvalidParameterValue"),
        (datum("Load", 0, 1e300), "InvalidParameterValue"),
        (shapes::MetricDatum { value: None, ..good() }, "MissingParameter"),
        (shapes::MetricDatum { values: Some(vec![1.0]), ..good() }, "InvalidParameterCombination"),
        (
            shapes::MetricDatum {
                value: None,
                values: Some(vec![1.0]),
                counts: Some(vec![1.0, 2.0]),
                ..good()
            },
            "InvalidParameterCombination",
        ),
        (shapes::MetricDatum { storage_resolution: Some(5), ..good() }, "InvalidParameterValue"),
    ] {
        assert_eq!(code(w.put_data(vec![good(), bad.clone()]).await), expected, "{bad:?}");
    }
    let input = shapes::PutMetricDataInput {
        namespace: Some("AWS/EC2".into()),
        metric_data: Some(vec![good()]),
        ..Default::default()
    };
    assert_eq!(code(put_metric_data::put(w.cx(), input).await), "InvalidParameterValue");
    let listed = list_metrics::list(w.cx(), Default::default()).await.unwrap();
    assert_eq!(listed.metrics, Some(vec![]));
}

#[tokio::test]
async fn lists_in_pages_of_500() {
    let w = world();
    let name = |i: usize| format!("M{i}");
    w.put_data((0..900).map(|i| datum(&name(i), 0, 1.0)).collect()).await.unwrap();
    let first = list_metrics::list(w.cx(), Default::default()).await.unwrap();
    assert_eq!(first.metrics.unwrap().len(), 500);
    let input = shapes::ListMetricsInput { next_token: first.next_token, ..Default::default() };
    let second = list_metrics::list(w.cx(), input).await.unwrap();
    assert_eq!((second.metrics.unwrap().len(), second.next_token), (400, None));
    let bad = shapes::ListMetricsInput { next_token: Some("?".into()), ..Default::default() };
    assert_eq!(code(list_metrics::list(w.cx(), bad).await), "InvalidParameterValue");
}

#[tokio::test]
async fn an_alarm_is_told_as_it_was_put() {
    let w = world();
    w.put_alarm(alarm("high")).await.unwrap();
    let told = w.one("high").await;
    assert_eq!(told.alarm_arn.as_deref(), Some("arn:aws:cloudwatch:us-east-1:123456789012:alarm:high"));
    assert_eq!(told.state_value.as_deref(), Some("INSUFFICIENT_DATA"));
    assert_eq!(
        (told.statistic.as_deref(), told.period, told.threshold),
        (Some("Average"), Some(60), Some(50.0))
    );
    assert_eq!(told.metrics, None);
    let for_metric = describe_alarms::describe_for_metric(
        w.cx(),
        shapes::DescribeAlarmsForMetricInput {
            namespace: Some("App".into()),
            metric_name: Some("Load".into()),
            dimensions: told.dimensions.clone(),
            ..Default::default()
        },
    );
    assert_eq!(for_metric.await.unwrap().metric_alarms.unwrap().len(), 1);

    let mut maths = alarm("maths");
    maths.namespace = None;
    maths.metric_name = None;
    maths.dimensions = None;
    maths.statistic = None;
    maths.period = None;
    let hidden = shapes::MetricDataQuery { return_data: Some(false), ..stat("m1", "Load", "Sum") };
    maths.metrics = Some(vec![hidden, expression("e1", "m1 / 60")]);
    w.put_alarm(maths).await.unwrap();
    let told = w.one("maths").await;
    let metrics = told.metrics.unwrap();
    assert_eq!(metrics[1].expression.as_deref(), Some("m1 / 60"));
    assert_eq!((metrics[0].return_data, metrics[1].return_data), (Some(false), Some(true)));
    assert_eq!((told.period, told.metric_name), (None, None));
}

#[tokio::test]
async fn alarm_settings_are_checked() {
    type Change = fn(&mut shapes::PutMetricAlarmInput);
    let w = world();
    let changes: &[(Change, &str)] = &[
        (|a| a.period = Some(45), "10, 20, 30 or any multiple of 60"),
        (|a| a.period = Some(1), "10, 20, 30 or any multiple of 60"),
        (|a| a.evaluation_periods = Some(2000), "more than a day"),
        (|a| a.datapoints_to_alarm = Some(4), "DatapointsToAlarm"),
        (|a| a.threshold = None, "Threshold"),
        (|a| a.statistic = None, "Statistic"),
        (|a| a.extended_statistic = Some("p90".into()), "mutually exclusive"),
        (|a| a.treat_missing_data = Some("maybe".into()), "Supported options"),
        (|a| a.comparison_operator = Some("GreaterThanUpperThreshold".into()), "anomaly"),
        (|a| a.evaluate_low_sample_count_percentile = Some("ignore".into()), "percentile"),
        (
            |a| a.alarm_actions = Some(vec!["arn:aws:lambda:us-east-1:123456789012:function:f".into()]),
            "not supported by Puffer",
        ),
        (|a| a.alarm_actions = Some(vec!["arn:aws:sns:us-east-1:123456789012:t".into()]), "does not exist"),
        (|a| a.ok_actions = Some(vec!["nonsense".into()]), "Invalid arn"),
        (|a| a.metric_name = None, "Either MetricName"),
        (|a| a.metrics = Some(vec![expression("e1", "1")]), "must not be specified if Metrics"),
        (|a| (a.namespace, a.period) = (Some("AWS/EC2".into()), Some(10)), "\"AWS/\" namespaces"),
    ];
    for (change, part) in changes {
        let mut input = alarm("x");
        change(&mut input);
        let error = w.put_alarm(input).await.unwrap_err();
        assert_eq!(error.code, "ValidationError");
        assert!(error.message.contains(part), "{} lacks {part}", error.message);
    }
    let mut maths = shapes::PutMetricAlarmInput {
        namespace: None,
        metric_name: None,
        dimensions: None,
        statistic: None,
        period: None,
        ..alarm("x")
    };
    for (metrics, part) in [
        (vec![stat("m1", "Load", "Sum"), expression("e1", "m1")], "Exactly one element"),
        (vec![expression("e1", "TIME_SERIES(1)")], "name a period"),
        (
            vec![
                shapes::MetricDataQuery { return_data: Some(false), ..stat("m1", "Load", "Sum") },
                expression("e1", "SUM(m1)"),
            ],
            "single time series",
        ),
        (vec![expression("e1", "SEARCH('x', 'Sum', 60)")], "not supported by Puffer"),
    ] {
        maths.metrics = Some(metrics);
        let error = w.put_alarm(maths.clone()).await.unwrap_err();
        assert!(error.message.contains(part), "{} lacks {part}", error.message);
    }
    assert_eq!(w.alarms(Default::default()).await.metric_alarms.unwrap(), vec![]);
    // The extension: by its own tag.
    let tag = shapes::Tag { key: Some("puffer:metric-period".into()), value: Some("1".into()) };
    w.put_alarm(shapes::PutMetricAlarmInput {
        period: Some(1),
        namespace: Some("AWS/EC2".into()),
        tags: Some(vec![tag]),
        ..alarm("fast")
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn alarms_are_found_by_every_filter_and_in_pages() {
    let w = world();
    for i in 0..12 {
        let mut input = alarm(&format!("{}-{i:02}", if i % 2 == 0 { "even" } else { "odd" }));
        if i == 3 {
            input.alarm_actions = None;
        }
        w.put_alarm(input).await.unwrap();
    }
    let set = shapes::SetAlarmStateInput {
        alarm_name: Some("odd-05".into()),
        state_value: Some("ALARM".into()),
        state_reason: Some("test".into()),
        state_reason_data: None,
    };
    alarms::set_state(w.cx(), set).await.unwrap();
    let count = async |input: shapes::DescribeAlarmsInput| w.alarms(input).await.metric_alarms.unwrap().len();
    let none = shapes::DescribeAlarmsInput::default;
    assert_eq!(count(none()).await, 12);
    assert_eq!(
        count(shapes::DescribeAlarmsInput { alarm_name_prefix: Some("odd".into()), ..none() }).await,
        6
    );
    assert_eq!(
        count(shapes::DescribeAlarmsInput { alarm_name_prefix: Some("odd-05".into()), ..none() }).await,
        1
    );
    assert_eq!(count(shapes::DescribeAlarmsInput { state_value: Some("ALARM".into()), ..none() }).await, 1);
    assert_eq!(
        count(shapes::DescribeAlarmsInput { action_prefix: Some("arn:aws:autosc".into()), ..none() }).await,
        11
    );
    assert_eq!(
        count(shapes::DescribeAlarmsInput { alarm_types: Some(vec!["CompositeAlarm".into()]), ..none() })
            .await,
        0
    );
    let (mut token, mut names) = (None, Vec::new());
    loop {
        let page = w
            .alarms(shapes::DescribeAlarmsInput {
                max_records: Some(5),
                alarm_name_prefix: Some("e".into()),
                next_token: token.clone(),
                ..none()
            })
            .await;
        names.extend(page.metric_alarms.unwrap().into_iter().map(|a| a.alarm_name.unwrap()));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, ["even-00", "even-02", "even-04", "even-06", "even-08", "even-10"]);
}

#[tokio::test]
async fn updating_keeps_the_state_and_wrong_names_do_not_keep_others_from_deletion() {
    let w = world();
    w.put_alarm(alarm("a")).await.unwrap();
    let set = |name: &str, data: Option<&str>| shapes::SetAlarmStateInput {
        alarm_name: Some(name.into()),
        state_value: Some("OK".into()),
        state_reason: Some("by hand".into()),
        state_reason_data: data.map(Into::into),
    };
    assert_eq!(code(alarms::set_state(w.cx(), set("nobody", None)).await), "ResourceNotFound");
    assert_eq!(code(alarms::set_state(w.cx(), set("a", Some("{"))).await), "InvalidFormat");
    alarms::set_state(w.cx(), set("a", Some("{}"))).await.unwrap();
    w.clock.advance(Duration::from_secs(5));
    w.put_alarm(shapes::PutMetricAlarmInput { threshold: Some(9.0), ..alarm("a") }).await.unwrap();
    let told = w.one("a").await;
    assert_eq!((told.state_value.as_deref(), told.threshold), (Some("OK"), Some(9.0)));
    assert_eq!(told.state_reason.as_deref(), Some("by hand"));

    let names = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
    alarms::disable_actions(w.cx(), shapes::DisableAlarmActionsInput { alarm_names: names(&["a", "b"]) })
        .await
        .unwrap();
    assert_eq!(w.one("a").await.actions_enabled, Some(false));
    alarms::enable_actions(w.cx(), shapes::EnableAlarmActionsInput { alarm_names: names(&["a"]) })
        .await
        .unwrap();
    assert_eq!(w.one("a").await.actions_enabled, Some(true));

    let both = || shapes::DeleteAlarmsInput { alarm_names: names(&["a", "nobody"]) };
    alarms::delete(w.cx(), both()).await.unwrap();
    assert_eq!(code(alarms::delete(w.cx(), both()).await), "ResourceNotFound");

    let history = |input| alarm_history::describe(w.cx(), input);
    let all = history(shapes::DescribeAlarmHistoryInput::default()).await.unwrap();
    let summaries: Vec<String> =
        all.alarm_history_items.unwrap().into_iter().map(|i| i.history_summary.unwrap()).collect();
    assert_eq!(summaries[0], "Alarm \"a\" deleted");
    assert!(summaries.contains(&"Alarm updated from INSUFFICIENT_DATA to OK".to_owned()), "{summaries:?}");
    let only = history(shapes::DescribeAlarmHistoryInput {
        alarm_name: Some("a".into()),
        history_item_type: Some("StateUpdate".into()),
        ..Default::default()
    });
    assert_eq!(only.await.unwrap().alarm_history_items.unwrap().len(), 1);
    let (mut token, mut n) = (None, 0);
    loop {
        let page = history(shapes::DescribeAlarmHistoryInput {
            max_records: Some(1),
            next_token: token,
            ..Default::default()
        })
        .await
        .unwrap();
        n += page.alarm_history_items.unwrap().len();
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(n, summaries.len());
}

#[tokio::test]
async fn tags_of_alarms() {
    let w = world();
    let tag = |k: &str, v: &str| shapes::Tag { key: Some(k.into()), value: Some(v.into()) };
    w.put_alarm(shapes::PutMetricAlarmInput { tags: Some(vec![tag("team", "a")]), ..alarm("t") })
        .await
        .unwrap();
    let arn = || Some("arn:aws:cloudwatch:us-east-1:123456789012:alarm:t".to_owned());
    let add = shapes::TagResourceInput { resource_arn: arn(), tags: Some(vec![tag("x", "y")]) };
    tags::tag(w.cx(), add).await.unwrap();
    let remove = shapes::UntagResourceInput { resource_arn: arn(), tag_keys: Some(vec!["team".into()]) };
    tags::untag(w.cx(), remove).await.unwrap();
    let list = |arn| tags::list(w.cx(), shapes::ListTagsForResourceInput { resource_arn: arn });
    assert_eq!(list(arn()).await.unwrap().tags, Some(vec![tag("x", "y")]));
    assert_eq!(
        code(list(Some("arn:aws:cloudwatch:us-east-1:123456789012:alarm:no".into())).await),
        "ResourceNotFoundException"
    );
    let aws = shapes::TagResourceInput { resource_arn: arn(), tags: Some(vec![tag("aws:x", "y")]) };
    assert_eq!(code(tags::tag(w.cx(), aws).await), "InvalidParameterValue");
}
